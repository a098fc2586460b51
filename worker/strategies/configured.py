"""Applies the configuration that a project carries to its job and its plan."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from revalid.jobs.checks import CheckName
from revalid.jobs.configuration import Configuration, Start, read_configuration
from revalid.jobs.errors import InvalidProject
from revalid.jobs.images import ImageTable
from revalid.jobs.job import Job, StrategyName, describe
from revalid.jobs.result import Unproven
from revalid.jobs.services import Service
from revalid.jobs.steps import Exec
from revalid.worker.strategies.images import check_image
from revalid.worker.strategies.node.scripts import does_nothing
from revalid.worker.strategies.plan import Plan, PlannedStep, check, skipped
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.services import is_well_known, needed_services
from revalid.worker.strategies.start import start_check

_PATH = 'export PATH="$PWD/node_modules/.bin:$PWD/.venv/bin:$PATH"\n'
_ARTIFACTS = 64


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """A project's configuration, as far as it counts for one job.

    Attributes:
        file: The file that holds it.
        trusted: Whether the job's overlay holds it, so that the caller answers for it.
        job: The job as it asks for it.
        notes: Sentences for the reader of the result.
        weakens_flaky: Whether it alone lets flaky tests pass.
    """

    file: str
    configuration: Configuration
    trusted: bool
    job: Job
    notes: tuple[str, ...]
    weakens_flaky: bool


def project_config(
    job: Job,
    tree: ProjectTree,
    images: ImageTable,
    overlay: ProjectTree | None = None,
    forwarded: Collection[str] = (),
) -> ProjectConfig | None:
    """Return the project's configuration, applied to the job; None if there is none.

    The job's own values win. What the configuration adds can only be less than the job allows.

    Args:
        overlay: The job's trusted files; beside them only a configuration among them counts, since
            the variables and commands of another could change what the trusted files do.
        forwarded: Variables that the worker sets itself.

    Raises:
        InvalidProject: The configuration is wrong, or asks for more than a project may.
    """
    if not job.project_config or job.source is None or job.strategy is StrategyName.TRAJECTORY:
        return None
    trusted = overlay is not None
    found = read_configuration(tree.read if overlay is None else overlay.read)
    if found is None:
        return None
    configuration, file = found.configuration, found.file
    notes: list[str] = []
    weakens_flaky = configuration.flaky == "pass" and job.flaky is None and not trusted
    fields: dict[str, Any] = {
        "artifacts": tuple(dict.fromkeys((*job.artifacts, *configuration.artifacts)))[:_ARTIFACTS],
        "env": _env(job, configuration, forwarded, file, notes) | job.env,
    }
    if configuration.image is not None and job.follows_project and not job.matrix:
        check_image(configuration.image, images, f"{file}: image")
        fields |= {"image": configuration.image, "fixed_image": True}
        notes.append(f"image {configuration.image}, for {file} names it")
    if configuration.services is not None and job.services is None:
        _check_services(configuration.services, file)
        fields["services"] = configuration.services
    if job.flaky is None and configuration.flaky is not None:
        fields["flaky"] = configuration.flaky
    if job.expect_tests is None and "tests" not in job.skip:
        fields["expect_tests"] = configuration.expect_tests
    if job.strategy is not StrategyName.COMMAND:
        required = {*job.require, *configuration.require}.difference(job.skip)
        fields["require"] = tuple(sorted(required))
    try:
        job = Job.model_validate({**dict(job), **fields})
    except ValidationError as error:
        raise InvalidProject(f"{file}: {describe(error)}") from None
    if configuration.matrix is not None and not job.matrix:
        entries = ", ".join(" ".join(*entry.items()) for entry in configuration.matrix.entries)
        notes.append(f"{file}: this job ran none of its matrix ({entries}) by name")
    keys = ", ".join(sorted(configuration.model_fields_set))
    whose = " of the overlay" if trusted else ""
    notes.insert(0, f"{file}{whose} configures this job: {keys or 'nothing'}")
    return ProjectConfig(file, configuration, trusted, job, tuple(notes), weakens_flaky)


def ignored_note(job: Job, tree: ProjectTree) -> list[str]:
    """Return a note if the project has a configuration that does not count beside an overlay."""
    if not job.project_config or job.strategy is StrategyName.TRAJECTORY:
        return []
    try:
        found = read_configuration(tree.read)
    except InvalidProject:  # nor do its faults
        return []
    return [f"{found.file} does not count beside an overlay: put one into it"] if found else []


def configured_plan(plan: Plan, config: ProjectConfig, given: Job, tree: ProjectTree) -> Plan:
    """Return a plan as a project's configuration changes it.

    What the configuration takes out is said in the result, and keeps the job from passing: only
    the caller can leave a check out for good.

    Args:
        given: The job without the configuration.

    Raises:
        InvalidProject: It configures the start of a server that is not there.
    """
    if config.job.strategy is StrategyName.COMMAND:
        return replace(plan, notes=(*config.notes, *plan.notes))
    steps = [_left_out(planned, config) for planned in plan.steps]
    if config.configuration.start is not None:
        steps = _started(steps, config.configuration.start, tree, config.file)
    return replace(
        plan,
        steps=(*steps, *_own_commands(config, steps)),
        notes=(*config.notes, *plan.notes),
        left_out=left_out(config, given, tree, plan),
        # With tests of the caller's own, a command could print that many more ran.
        counts_commands=config.trusted or given.expect_tests is None,
        weakens_flaky=config.file if config.weakens_flaky else "",
    )


def commands_plan(config: ProjectConfig, others: list[PlannedStep]) -> Plan:
    """Return the plan of a project that no strategy fits: its own commands.

    Args:
        others: Steps for what no strategy covers; they keep the job from passing.
    """
    return Plan(
        strategy=StrategyName.COMMAND,
        reason=f"no strategy fits; {config.file} gives commands",
        steps=tuple(others),
        tools=(),
    )


def left_out(
    config: ProjectConfig, given: Job, tree: ProjectTree, plan: Plan
) -> tuple[Unproven, ...]:
    """Return what the configuration takes out besides whole checks: services, the found server.

    Args:
        given: The job without the configuration.
        plan: The plan without the configuration.
    """
    start = config.configuration.start
    servers = [planned for planned in plan.steps if planned.probe is not None]
    replaced = servers if start is not None and start.command is not None else []
    kept = {service.kind for service in config.configuration.services or ()}
    tested = any(planned.check is CheckName.TESTS and not planned.absent for planned in plan.steps)
    chosen = tested and given.services is None and config.configuration.services is not None
    return (
        *(
            Unproven(
                check=CheckName.START,
                reason=f"{planned.name} replaced by {config.file}",
                decides=False,
            )
            for planned in replaced
        ),
        *(
            Unproven(
                check=CheckName.TESTS,
                reason=f"{needed.kind} ({needed.reason}) left out by {config.file}",
                decides=not config.trusted,
            )
            for needed in (needed_services(given, tree) if chosen else ())
            if needed.kind not in kept
        ),
    )


def _env(
    job: Job, configuration: Configuration, forwarded: Collection[str], file: str, notes: list[str]
) -> dict[str, str]:
    ignored = sorted(configuration.env.keys() & {*job.secrets, *forwarded})
    if ignored:
        notes.append(f"{file}: env {', '.join(ignored)} is not taken: the worker sets it")
    return {name: value for name, value in configuration.env.items() if name not in ignored}


def _check_services(services: tuple[Service, ...], file: str) -> None:
    for service in services:
        if service.image is not None and not is_well_known(service.kind, service.image):
            raise InvalidProject(
                f"{file}: services: {service.image!r} is not a well-known image of {service.kind}; "
                "the caller can name others with --service"
            )


def _left_out(planned: PlannedStep, config: ProjectConfig) -> PlannedStep:
    check_name, job = planned.check, config.job
    if check_name not in config.configuration.skip or check_name in job.skip:
        return planned
    if check_name in job.require or planned.skipped_reason is not None:
        return planned
    reason = f"left out by {config.file}"
    if config.trusted:
        return replace(planned, skipped_reason=f"{reason} of the overlay", absent=True)
    return replace(planned, skipped_reason=reason)


def _own_commands(config: ProjectConfig, found: list[PlannedStep]) -> list[PlannedStep]:
    """Return a step for each command of the configuration; it runs after the found checks."""
    taken = {planned.name for planned in found}
    installs = tuple(planned.name for planned in found if planned.install)
    steps = []
    for command in config.configuration.commands:
        name = command.name if command.name not in taken else f"{command.name} ({config.file})"
        if does_nothing(command.run):
            reason = f"it checks nothing: {command.run}"
            steps.append(skipped(CheckName.COMMAND, name, command.run, reason, absent=True))
        else:
            run = _PATH + command.run
            steps.append(check(CheckName.COMMAND, name, run, installs, parallel=False))
    return steps


def _started(
    steps: list[PlannedStep], start: Start, tree: ProjectTree, file: str
) -> list[PlannedStep]:
    """Return the steps with the server's start as the configuration gives it."""
    found = [planned for planned in steps if planned.check is CheckName.START]
    others = [planned for planned in steps if planned.check is not CheckName.START]
    if start.command is not None:
        before = (CheckName.INSTALL, CheckName.BUILD)
        depends_on = [
            planned.name
            for planned in others
            if (planned.install or planned.check in before) and planned.skipped_reason is None
        ]
        found = [start_check(tree, _PATH + start.command, depends_on)]
    if not any(planned.probe is not None for planned in found):
        raise InvalidProject(f"{file}: start: no server was found: give start.command")
    return [*others, *(_probed(planned, start) for planned in found)]


def _probed(planned: PlannedStep, start: Start) -> PlannedStep:
    if planned.probe is None or not isinstance(planned.step, Exec):
        return planned
    probe, step = planned.probe, planned.step
    if start.path is not None:
        probe = replace(probe, paths=(start.path,))
    if start.port is not None:
        port = f"export PORT={start.port}\n"
        probe = replace(probe, port=start.port, setup=probe.setup and port + probe.setup)
        step = step.model_copy(update={"command": port + step.command})
    return replace(planned, step=step, probe=probe)
