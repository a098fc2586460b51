"""Plans the steps of a job from its unpacked project."""

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from revalid.jobs.checks import CheckName
from revalid.jobs.counted import counted
from revalid.jobs.errors import NoStrategyFits
from revalid.jobs.images import BUILT_IN, ImageTable
from revalid.jobs.job import Job, StrategyName
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
from revalid.worker.strategies.node import npm, trpc
from revalid.worker.strategies.node.workspaces import find_groups
from revalid.worker.strategies.other_languages import unchecked_languages
from revalid.worker.strategies.parts import not_covered
from revalid.worker.strategies.plan import Plan, PlannedStep
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python import checks
from revalid.worker.strategies.python.install import python_parts
from revalid.worker.strategies.services import needed_services

__all__ = ["Plan", "PlannedStep", "make_plan"]

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
    image, note = choose_image(job, tree, plan, images)
    return replace(
        plan,
        steps=tuple(
            _required(_with_services(planned, job, services), job) for planned in plan.steps
        ),
        notes=(*([note] if note else []), *ignored, *plan.notes),
        image=image,
        job=job,
    )


def _configured(config: ProjectConfig, given: Job, tree: ProjectTree) -> Plan:
    """Plan a project that has a configuration."""
    try:
        plan = _plan(config.job, tree)
    except NoStrategyFits:
        if not config.configuration.commands:
            raise
        plan = commands_plan(config, unchecked_languages(tree))
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
            return _plan_given_steps(job)
        case StrategyName.TRPC:
            return trpc.plan(tree, find_groups(tree))
        case StrategyName.NPM:
            return npm.plan(tree, find_groups(tree))
        case StrategyName.PYTHON:
            return checks.plan(tree)
        case StrategyName.AUTO:
            return _plan_detected(job, tree)


def _plan_given_steps(job: Job) -> Plan:
    commands = "\n".join(step.command for step in job.steps if isinstance(step, Exec))
    check = CheckName.COMMAND if job.strategy is StrategyName.COMMAND else None
    return Plan(
        strategy=job.strategy,
        reason=f"{counted(len(job.steps), 'step')} given with the job",
        steps=tuple(
            PlannedStep(step, check=check if isinstance(step, Exec) else None) for step in job.steps
        ),
        tools=tuple(dict.fromkeys(_TOOL.findall(commands))),
        stop_on_failure=job.strategy is StrategyName.COMMAND and not job.keep_going,
    )


def _plan_detected(job: Job, tree: ProjectTree) -> Plan:
    """Plan every part of the project: its Node packages and its Python projects."""
    groups = find_groups(tree)
    directories, others = python_parts(tree)
    plans = []
    if groups:
        plans.append(trpc.plan(tree, groups) if trpc.detect(groups) else npm.plan(tree, groups))
    if directories:
        plans.append(checks.plan_parts(tree, directories))
    others_steps = unchecked_languages(tree)
    if not plans:
        manifests = ", ".join(("package.json", *checks.MANIFESTS))
        held = ", ".join(
            f"{s.step.name} ({s.step.command})" for s in others_steps if isinstance(s.step, Exec)
        )
        raise NoStrategyFits(
            f"no strategy fits this project: found none of {manifests}, at the root or in a part "
            f"of it{f'; it holds {held}' if held else ''}; give the commands with --command"
        )
    plan = plans[0] if len(plans) == 1 else _joined(*plans)
    notes = (*plan.notes, *not_covered(others, "a Python manifest"))
    return replace(plan, steps=(*plan.steps, *others_steps), notes=notes)


def _joined(node: Plan, python: Plan) -> Plan:
    """Join the plans of both languages; the steps of Python get names of their own."""
    steps = tuple(
        replace(
            planned,
            step=planned.step.model_copy(update={"name": f"python {planned.step.name}"}),
            depends_on=tuple(f"python {name}" for name in planned.depends_on),
        )
        for planned in python.steps
        if isinstance(planned.step, Exec)
    )
    return replace(
        node,
        reason=f"{node.reason}; Python: {python.reason}",
        steps=(*node.steps, *steps),
        tools=tuple(dict.fromkeys((*node.tools, *python.tools))),
        notes=(*node.notes, *python.notes),
    )
