"""Says what the steps of a job proved, and what they did not."""

from collections.abc import Iterable, Mapping

from revalid.jobs.checks import CheckName
from revalid.jobs.job import Job
from revalid.jobs.result import Proven, StepResult, StepStatus, TestReport, Unproven
from revalid.jobs.steps import Exec
from revalid.worker.run.file_steps import describe_step
from revalid.worker.strategies.plan import Plan, PlannedStep

_WORDS = {
    CheckName.INSTALL: "installed",
    CheckName.BUILD: "built",
    CheckName.TYPECHECK: "types checked",
    CheckName.LINT: "linted",
    CheckName.START: "started",
    CheckName.RENDER: "rendered",
    CheckName.COMMAND: "exited with 0",
}


def proven(results: Iterable[StepResult]) -> tuple[Proven, ...]:
    """Return what the passed steps proved, in their order."""
    return tuple(
        Proven(check=step.check, step=step.name, words=_words(step.check, step.tests))
        for step in results
        if step.check is not None and step.status is StepStatus.PASSED
    )


def unproven(job: Job, plan: Plan, finished: Mapping[int, StepResult]) -> tuple[Unproven, ...]:
    """Return what the steps did not prove: the planned checks, then those that the job requires.

    Args:
        finished: The results of the steps that ended, by their index in the plan.
    """
    missing = [
        _missing(job, planned, planned.check, finished.get(index))
        for index, planned in enumerate(plan.steps)
        if planned.check is not None
    ]
    planned_checks = {planned.check for planned in plan.steps}
    never_planned = (
        Unproven(check=check, reason="required, but this project has no such check", decides=True)
        for check in map(CheckName, job.require)
        if check not in planned_checks
    )
    return (*(item for item in missing if item is not None), *never_planned)


def _words(check: CheckName, tests: TestReport | None) -> str:
    if tests is not None:
        skipped = f", {tests.skipped} skipped" if tests.skipped else ""
        return f"{tests.passed} test{'' if tests.passed == 1 else 's'} passed{skipped}"
    if check is CheckName.TESTS:
        return "tests exited with 0, not counted"
    return _WORDS[check]


def _missing(
    job: Job, planned: PlannedStep, check: CheckName, result: StepResult | None
) -> Unproven | None:
    if result is not None and result.status is StepStatus.PASSED:
        return None
    required = check in job.require
    optional = isinstance(planned.step, Exec) and planned.step.allow_failure
    if result is None:
        decides, reason = not optional, "it did not end"
    elif result.status is StepStatus.SKIPPED:
        decides = not (planned.absent or optional or check in job.skip)
        reason = result.skipped_reason or ""
    else:
        decides, reason = not optional, result.outcome
    return Unproven(
        check=check,
        step=describe_step(planned.step),
        reason=reason,
        decides=required or decides,
    )
