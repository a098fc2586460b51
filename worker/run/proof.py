"""Says what the steps of a job proved, and what they did not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from revalid.jobs.checks import CheckName
from revalid.jobs.counted import counted
from revalid.jobs.job import Job
from revalid.jobs.result import Proven, StepResult, StepStatus, Unproven
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
    found = []
    for step in results:
        if step.check is not None and step.status is StepStatus.PASSED:
            found.append(Proven(check=step.check, step=step.name, words=_words(step.check, step)))
        if rendered(step):
            found.append(Proven(check=CheckName.RENDER, step=step.name, words=_pages(step)))
    return tuple(found)


def rendered(step: StepResult) -> bool:
    """Return whether the pages of the server that a step started were good."""
    started = step.start is not None and step.start.problem is None
    render = step.render
    return started and render is not None and not (render.problem or render.not_judged)


def unproven(job: Job, plan: Plan, finished: Mapping[int, StepResult]) -> tuple[Unproven, ...]:
    """Return what the steps did not prove: the planned checks, then those that the job requires.

    Args:
        finished: The results of the steps that ended, by their index in the plan.
    """
    missing = []
    for index, planned in enumerate(plan.steps):
        result = finished.get(index)
        if planned.check is not None:
            missing.append(_missing(job, planned, planned.check, result))
        if planned.probe is not None and planned.probe.render:
            missing.append(_not_rendered(job, planned, result))
    planned_checks = {planned.check for planned in plan.steps}
    if CheckName.START in planned_checks:
        planned_checks.add(CheckName.RENDER)
    never_planned = (
        Unproven(check=check, reason="required, but this project has no such check", decides=True)
        for check in map(CheckName, job.require)
        if check not in planned_checks
    )
    shortfall = missing_tests(job, plan, finished)
    too_few = () if shortfall is None else (shortfall.unproven,)
    flaky = (
        Unproven(
            check=CheckName.TESTS,
            step=step.name,
            reason=f"{counted(step.tests.flaky, 'flaky test')} passed only by {plan.weakens_flaky}",
            decides=True,
        )
        for step in finished.values()
        if plan.weakens_flaky
        and step.flaky_passes
        and step.tests
        and step.tests.flaky
        and step.status is StepStatus.PASSED
    )
    return (
        *(item for item in missing if item is not None),
        *never_planned,
        *too_few,
        *plan.left_out,
        *flaky,
    )


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Tests that the job expects and that did not run.

    Attributes:
        is_certain: Whether every test was counted, so that the job fails.
    """

    words: str
    is_certain: bool

    @property
    def unproven(self) -> Unproven:
        """The shortfall as what was not proven."""
        return Unproven(check=CheckName.TESTS, reason=self.words, decides=True)


def missing_tests(job: Job, plan: Plan, finished: Mapping[int, StepResult]) -> Shortfall | None:
    """Return the shortfall against the job's ``expect_tests``; None if enough tests ran."""
    if job.expect_tests is None:
        return None
    counted_checks = (CheckName.TESTS, *([CheckName.COMMAND] if plan.counts_commands else []))
    reports = [
        step.tests
        for step in finished.values()
        if step.tests is not None and step.check in counted_checks
    ]
    ran = sum(report.executed for report in reports)
    if ran >= job.expect_tests:
        return None
    # Of given commands, not each one has to run tests.
    checks = (CheckName.TESTS,) if reports else counted_checks
    is_certain = all(
        index in finished and finished[index].tests is not None
        for index, planned in enumerate(plan.steps)
        if planned.check in checks and not planned.absent
    )
    unknown = "" if is_certain else "; not every step that runs tests could be counted"
    return Shortfall(
        f"expected {counted(job.expect_tests, 'test')}, {ran} ran{unknown}", is_certain
    )


def _pages(step: StepResult) -> str:
    render = step.render
    if render is None:
        return ""
    errors = sum(len(page.errors) for page in render.pages)
    noted = (
        f", {counted(errors, 'error')} on {'it' if render.paths == 1 else 'them'}" if errors else ""
    )
    more = f", {render.left_out} more not opened" if render.left_out else ""
    return f"rendered {counted(render.paths, 'page')}{noted}{more}"


def _not_rendered(job: Job, planned: PlannedStep, result: StepResult | None) -> Unproven | None:
    """Return why the pages of a server are not proven; None if they are, or if it has none."""
    required = CheckName.RENDER in job.require
    if result is not None and rendered(result):
        return None
    render = result.render if result is not None else None
    if CheckName.RENDER in job.skip:
        reason = "left out by --skip render"
    elif render is not None and (words := render.problem or render.not_judged):
        reason = words
    elif not required:
        return None
    else:
        started = result is not None and result.status is StepStatus.PASSED
        reason = "its / is no HTML page" if started else "the server did not start"
    return Unproven(check=CheckName.RENDER, reason=reason, decides=required)


def _words(check: CheckName, step: StepResult) -> str:
    tests = step.tests
    if step.start is not None and step.start.ready_s is not None:
        ignored = ", but ignores SIGTERM" if step.start.ignored_sigterm else ""
        answer = f"{step.start.status} on {step.start.path}"
        return f"started in {step.start.ready_s:.1f} s, {answer}{ignored}"
    if tests is not None:
        flaky = f", {tests.flaky} of them flaky" if tests.flaky else ""
        skipped = f", {tests.skipped} skipped" if tests.skipped else ""
        return f"{counted(tests.passed, 'test')} passed{flaky}{skipped}"
    if check is CheckName.TESTS:
        return "tests exited with 0, not counted"
    return _WORDS[check]


def _missing(
    job: Job, planned: PlannedStep, check: CheckName, result: StepResult | None
) -> Unproven | None:
    if result is not None and result.status is StepStatus.PASSED:
        return None
    # The project's own browser tests are not what --require render asks for.
    required = check in job.require and check is not CheckName.RENDER
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
