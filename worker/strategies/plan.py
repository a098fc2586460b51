"""The values a strategy makes."""

from dataclasses import dataclass

from revalid.jobs.job import StrategyName
from revalid.jobs.steps import Exec, Step


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step, what it waits for and what it may be replayed from.

    Attributes:
        depends_on: Names of earlier steps without whose success, and whose files, this cannot run.
        skipped_reason: Why it does not run, where planning decided so.
        install: A dependency install.
        cacheable: An install whose outcome its inputs decide, so that a snapshot may stand for it.
        inputs: Files that the install can see; None for the whole tree.
        parallel: Runs in a fork where a fork is free: nothing waits for what it writes.
    """

    step: Step
    depends_on: tuple[str, ...] = ()
    skipped_reason: str | None = None
    install: bool = False
    cacheable: bool = False
    inputs: tuple[str, ...] | None = None
    parallel: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a job.

    Attributes:
        strategy: The one that made it; never ``auto``.
        reason: What was seen in the project.
        tools: Shell commands whose versions the result names.
        notes: What a reader of the result should know.
        stops: Nothing runs after a step that failed.
    """

    strategy: StrategyName
    reason: str
    steps: tuple[PlannedStep, ...]
    tools: tuple[str, ...]
    notes: tuple[str, ...] = ()
    stops: bool = False


def check(
    name: str,
    command: str,
    depends_on: tuple[str, ...] = (),
    *,
    allow_failure: bool = False,
    parallel: bool = True,
) -> PlannedStep:
    """A step that judges the project."""
    step = Exec(name=name, command=command, allow_failure=allow_failure)
    return PlannedStep(step, depends_on, parallel=parallel)


def skipped(name: str, command: str, reason: str) -> PlannedStep:
    """A step that does not run.

    Args:
        command: What would have run.
    """
    return PlannedStep(Exec(name=name, command=command), skipped_reason=reason)
