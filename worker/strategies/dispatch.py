"""Plans the steps of a job from its unpacked project."""

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from revalid.jobs.checks import CheckName
from revalid.jobs.counted import counted
from revalid.jobs.errors import InvalidProject, NoStrategyFits
from revalid.jobs.images import BUILT_IN, ImageTable
from revalid.jobs.job import Job, StrategyName
from revalid.jobs.result import Unproven
from revalid.jobs.steps import Exec
from revalid.worker.services import NeededService
from revalid.worker.strategies.configured import (
    ProjectConfig,
    commands_plan,
    configured_plan,
    ignored_note,
    project_config,
)
from revalid.worker.strategies.images import choose_image
from revalid.worker.strategies.other_languages import unchecked_languages
from revalid.worker.strategies.parts import not_covered
from revalid.worker.strategies.plan import Plan, PlannedStep, Runtime
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.registry import fitting, strategy_named
from revalid.worker.strategies.services import needed_services, unknown_services

__all__ = ["Plan", "PlannedStep", "make_plan"]

_FOR_A_SHELL = re.compile(r"(?:cd|export|source|\.) [^;&|]{1,500}\Z")
"""Commands whose only effect is on their own shell."""
_TOOL = re.compile(r"(?:^|[\s;&|(])(node|npm|bun|pnpm|yarn|python3|uv|poetry)(?=\s)")


def make_plan(
    job: Job,
    project: Path,
    selected: Collection[str] | None = None,
    images: ImageTable = BUILT_IN,
    *,
    overlay: Path | None = None,
    forwarded: Collection[str] = (),
) -> Plan:
    """Plan the steps of ``job``.

    Args:
        project: The unpacked project. Its content is hostile: no link leads out of it.
        selected: The files and links there that belong to the project; None for every one.
        images: The worker's table of images.
        overlay: The directory of the trusted files, which are laid over the project already.
        forwarded: Variables that the worker sets itself.

    Raises:
        InvalidProject: The strategy does not fit the project, or a manifest or the project's
            configuration is wrong.
    """
    tree = ProjectTree(project, selected)
    trusted = ProjectTree(overlay) if overlay is not None else None
    config = project_config(job, tree, images, trusted, forwarded)
    plan = _configured(config, job, tree) if config else _plan(job, tree)
    ignored = ignored_note(job, tree) if trusted is not None and config is None else []
    job = config.job if config else job
    services = needed_services(job, tree) if job.source is not None else ()
    served = any(planned.check in (CheckName.TESTS, CheckName.START) for planned in plan.steps)
    unknown = tuple(
        Unproven(check=CheckName.TESTS, reason=words, decides=False)
        for words in (unknown_services(job, tree) if served else ())
    )
    image, note = choose_image(job, tree, plan, images)
    return replace(
        plan,
        steps=tuple(
            _required(_with_services(planned, job, services), job) for planned in plan.steps
        ),
        notes=(*([note] if note else []), *ignored, *plan.notes),
        image=image,
        job=job,
        left_out=(*plan.left_out, *unknown),
    )


def _configured(config: ProjectConfig, given: Job, tree: ProjectTree) -> Plan:
    """Plan a project that has a configuration."""
    try:
        plan = _plan(config.job, tree)
    except NoStrategyFits:
        if not config.configuration.commands:
            raise
        plan = commands_plan(config, unchecked_languages(tree, ()))
    return configured_plan(plan, config, given, tree)


def _required(planned: PlannedStep, job: Job) -> PlannedStep:
    """Return the step so that it decides if the job requires its check."""
    needed = {planned.check} | ({CheckName.RENDER} if planned.probe else set())
    if needed.isdisjoint(job.require) or not isinstance(planned.step, Exec):
        return planned
    return replace(planned, step=planned.step.model_copy(update={"allow_failure": False}))


def _with_services(
    planned: PlannedStep, job: Job, services: tuple[NeededService, ...]
) -> PlannedStep:
    """Return the step with what runs beside it: found services serve tests and servers."""
    serves = planned.probe is not None and not planned.probe.pages
    uses = (planned.check is CheckName.TESTS or serves) and planned.skipped_reason is None
    own = job.strategy is not StrategyName.COMMAND  # of the project's configuration
    given = planned.check is CheckName.COMMAND and (own or job.services is not None)
    return replace(planned, services=services) if services and (uses or given) else planned


def _plan(job: Job, tree: ProjectTree) -> Plan:
    match job.strategy:
        case StrategyName.COMMAND | StrategyName.TRAJECTORY:
            return _plan_given_steps(job, tree)
        case StrategyName.AUTO:
            return _plan_detected(tree)
        case name:
            return strategy_named(name).plan(tree)


def _plan_given_steps(job: Job, tree: ProjectTree) -> Plan:
    texts = [step.command for step in job.steps if isinstance(step, Exec)]
    commands = "\n".join(texts)
    lost = [] if job.session else [text for text in texts if _FOR_A_SHELL.match(text)]
    check = CheckName.COMMAND if job.strategy is StrategyName.COMMAND else None
    return Plan(
        strategy=job.strategy,
        reason=f"{counted(len(job.steps), 'step')} given with the job",
        steps=tuple(
            PlannedStep(step, check=check if isinstance(step, Exec) else None) for step in job.steps
        ),
        tools=tuple(dict.fromkeys(_TOOL.findall(commands))),
        notes=tuple(
            f"{text[:80]!r} has no effect on later commands: --session runs all in one Bash session"
            for text in lost[:1]
        ),
        stop_on_failure=job.strategy is StrategyName.COMMAND and not job.keep_going,
        runtime=_runtime_of_commands(job, tree),
    )


def _runtime_of_commands(job: Job, tree: ProjectTree) -> Runtime | None:
    if job.strategy is not StrategyName.COMMAND or job.source is None:
        return None
    try:
        return next((strategy.plan(tree).runtime for strategy in fitting(tree)), None)
    except InvalidProject:  # the commands need no manifest
        return None


def _plan_detected(tree: ProjectTree) -> Plan:
    """Plan every part of the project, in each language that has a strategy."""
    strategies = fitting(tree)
    covered = {manifest for strategy in strategies for manifest in strategy.manifests}
    others = unchecked_languages(tree, covered)
    if not strategies:
        held = ", ".join(
            f"{s.step.name} ({s.step.command})" for s in others if isinstance(s.step, Exec)
        )
        raise NoStrategyFits(
            "no strategy fits this project: found no manifest such as package.json, "
            "pyproject.toml, requirements.txt, go.mod or Cargo.toml, at the root or in a part of "
            f"it{f'; it holds {held}' if held else ''}; give the commands with --command"
        )
    plans = [strategy.plan(tree) for strategy in strategies]
    # Such as the Gemfile of a React Native app, whose image would leave its real checks out.
    idle = [plan for plan in plans if not _checks_something(plan)]
    first, *rest = [plan for plan in plans if plan not in idle] or plans
    plan = _joined(first, rest)
    notes = not_covered((p.reason for p in idle if p not in (first, *rest)), "nothing to check")
    return replace(plan, steps=(*plan.steps, *others), notes=(*plan.notes, *notes))


def _checks_something(plan: Plan) -> bool:
    return any(step.skipped_reason is None and not step.install for step in plan.steps)


def _joined(first: Plan, rest: list[Plan]) -> Plan:
    """Join the plans of several languages; the steps after the first have its strategy's name."""
    steps = list(first.steps)
    for plan in rest:
        steps += [
            replace(
                planned,
                step=planned.step.model_copy(
                    update={"name": f"{plan.strategy} {planned.step.name}"}
                ),
                depends_on=tuple(f"{plan.strategy} {name}" for name in planned.depends_on),
                after=tuple(f"{plan.strategy} {name}" for name in planned.after),
            )
            for planned in plan.steps
            if isinstance(planned.step, Exec)
        ]
    reasons = (f"{plan.strategy}: {plan.reason}" for plan in rest)
    return replace(
        first,
        reason="; ".join([first.reason, *reasons]),
        steps=tuple(steps),
        tools=tuple(dict.fromkeys(tool for plan in (first, *rest) for tool in plan.tools)),
        notes=tuple(dict.fromkeys(note for plan in (first, *rest) for note in plan.notes)),
    )
