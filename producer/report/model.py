"""The report of a batch: the document that ``--json`` prints."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Self, get_args

from pydantic import Field

from revalid.jobs.result import JobResult, Proven, StepResult, Unproven, Verdict
from revalid.jobs.steps import Frozen

PENDING, NOT_SUBMITTED = "pending", "not_submitted"
STATES = (*(verdict.value for verdict in Verdict), NOT_SUBMITTED, PENDING)
"""The states of a row: a verdict, or the reason why it has none."""


class Row(Frozen):
    """One project of a batch, or one repeat of it; equal projects may share a job.

    Attributes:
        project: The project's name in the batch.
        id: The job's id; None if it could not be submitted.
        verdict: None while the job is not done.
        failed_step: The first step that kept the job from passing.
        duration_s: Seconds that the last attempt took; None if the job ended while it waited.
        queued_s: Seconds that the job waited in all, before and between its attempts.
        error: Why it was not submitted, or the error of a verdict without a failed step.
        repeat: 1 for the first run of the project in this batch.
        reused: Whether the verdict and ``duration_s`` are those of a run before the batch.
        sandbox: ``dagger`` or ``local``; None if no sandbox was opened.
        attempts: Number of claims by workers.
        strategy: The strategy that made the steps.
        tests_executed: Tests that ran in all steps; None where none were counted.
        tests_failed: Tests among them that failed.
        proven: What the job proved.
        unproven: What it did not prove.
    """

    project: str
    id: str | None = None
    verdict: Verdict | None = None
    failed_step: str | None = None
    duration_s: float | None = None
    queued_s: float = 0.0
    error: str | None = None
    repeat: int = Field(default=1, ge=1)
    labels: dict[str, str] = Field(default_factory=dict)
    reused: bool = False
    sandbox: str | None = None
    attempts: int = 0
    strategy: str | None = None
    tests_executed: int | None = None
    tests_failed: int | None = None
    proven: tuple[Proven, ...] = ()
    unproven: tuple[Unproven, ...] = ()
    steps: tuple[StepResult, ...] = ()

    @classmethod
    def of(cls, project: str, result: JobResult, *, repeat: int = 1) -> Self:
        """Make the row of a done job."""
        counted = [step.tests for step in result.steps if step.tests is not None]
        return cls(
            project=project,
            id=result.id,
            verdict=result.verdict,
            failed_step=result.failed_step,
            duration_s=result.duration_s,
            queued_s=result.queued_s,
            error=result.error or (None if result.failed_step else result.explanation or None),
            repeat=repeat,
            labels=result.labels,
            reused=result.reused,
            sandbox=result.sandbox.kind,
            attempts=result.attempts,
            strategy=result.strategy.name if result.strategy else None,
            tests_executed=sum(tests.executed for tests in counted) if counted else None,
            tests_failed=sum(tests.failed for tests in counted) if counted else None,
            proven=result.proven,
            unproven=result.unproven,
            steps=result.steps,
        )

    @property
    def state(self) -> str:
        """Return the state, one of :data:`STATES`."""
        if self.verdict is not None:
            return self.verdict.value
        return NOT_SUBMITTED if self.error is not None else PENDING

    @property
    def spent_s(self) -> float:
        """Seconds that this batch spent on the last attempt; 0 for a reused verdict."""
        return 0.0 if self.reused else self.duration_s or 0.0

    @property
    def red(self) -> bool:
        """Return whether the row ended without passing."""
        return self.state not in (Verdict.PASSED, PENDING)

    @property
    def title(self) -> str:
        """Return the project's name, with the number of the repeat from the second on."""
        return self.project if self.repeat == 1 else f"{self.project} (repeat {self.repeat})"


class Cause(Frozen):
    """A cause of failures in one or more projects.

    Attributes:
        title: The message, with ``…`` for the parts that differ.
        check: The kind of the failed step, such as ``typecheck``, or the state of the rows.
        message: The message of one of the projects.
        projects: Names of the projects, in the batch's order.
        number: Number of projects.
    """

    title: str
    check: str
    message: str
    projects: tuple[str, ...]
    number: int


class BrokenTest(Frozen):
    """A test that failed or flaked in one or more projects.

    Attributes:
        runner: The program that ran it; None if the output does not tell.
        file: The file that holds it, as the runner names it.
        message: Its message in one of the projects.
        number: Number of projects in which it failed in every repeat.
        projects: Names of these projects, at most 1,000.
        flaky: Names of projects in which it failed once and passed once, at most 1,000.
    """

    runner: str | None
    file: str | None
    name: str
    message: str = ""
    number: int
    projects: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return the test's file and name."""
        return f"{self.file}: {self.name}" if self.file else self.name


class ChangedTest(Frozen):
    """A test that broke or was mended in one or more projects since an earlier batch."""

    runner: str | None
    file: str | None
    name: str
    projects: tuple[str, ...]


JudgedKind = Literal["false_green", "false_red", "unproven", "miscounted"]


class Judged(Frozen):
    """A row that is not as expected.

    Attributes:
        kind: ``false_green`` passed, ``false_red`` failed or ran out of time, ``unproven`` has
            another verdict or none; ``miscounted`` has the right verdict and another number of
            tests.
        expected: The expected verdicts, joined by ``or``.
        state: The state that the row has.
    """

    project: str
    kind: JudgedKind
    expected: str
    state: str
    reason: str


class Expectations(Frozen):
    """The rows of a batch beside the verdicts that a file expects.

    Attributes:
        table: Number of rows by expected verdicts, then by state.
        wrong: The rows that are not as expected.
    """

    right: int
    false_green: int = 0
    false_red: int = 0
    unproven: int = 0
    miscounted: int = 0
    table: dict[str, dict[str, int]] = Field(default_factory=dict)
    wrong: tuple[Judged, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of rows that are right, and of each kind of wrong ones."""
        wrong: tuple[JudgedKind, ...] = get_args(JudgedKind)
        return {kind: getattr(self, kind) for kind in ("right", *wrong)}


class Change(Frozen):
    """A project whose verdict changed; None means no verdict.

    Attributes:
        reason: Why the project was not submitted.
    """

    project: str
    was: Verdict | None
    now: Verdict | None
    reason: str | None = None


class Comparison(Frozen):
    """A comparison of a batch with an earlier one, by project name.

    Attributes:
        previous: The earlier batch's id.
        regressed: Projects that passed then and not now.
        fixed: Projects that pass now and did not then.
        new: Projects without a verdict then.
        missing: Projects without a verdict now: not done, or not in the batch.
        not_submitted: Projects that could not be submitted now.
        flaky: Projects whose repeats disagree, then or now; they are in no other list.
        unchanged: Number of projects that passed both times or neither time.
        tests_broken: Tests that fail now in projects in which they did not fail then.
        tests_mended: Tests that failed then and not now, in projects with verdicts now. Both lists
            are empty where one of the reports lists not all of its failed tests.
    """

    previous: str
    regressed: tuple[Change, ...] = ()
    fixed: tuple[Change, ...] = ()
    new: tuple[Change, ...] = ()
    missing: tuple[Change, ...] = ()
    not_submitted: tuple[Change, ...] = ()
    flaky: tuple[Change, ...] = ()
    unchanged: int = 0
    tests_broken: tuple[ChangedTest, ...] = ()
    tests_mended: tuple[ChangedTest, ...] = ()


class BatchReport(Frozen):
    """The report of a batch.

    Attributes:
        name: The sources of the batch, such as a directory or a list.
        finished_at: None while jobs are not done.
        counts: Number of rows by state.
        causes: Causes of failures, the most frequent first.
        flaky: Projects whose repeats disagree.
        tests: Single tests that failed or flaked, those that failed in most projects first.
        tests_omitted: Number of such tests beyond the bound of the list.
        expectations: The comparison with the verdicts that a file expects.
    """

    schema_version: Literal[1] = 1
    id: str
    name: str
    created_at: datetime
    finished_at: datetime | None
    counts: dict[str, int]
    jobs: tuple[Row, ...]
    causes: tuple[Cause, ...] = ()
    flaky: tuple[str, ...] = ()
    tests: tuple[BrokenTest, ...] = ()
    tests_omitted: int = 0
    comparison: Comparison | None = None
    expectations: Expectations | None = None

    def document(self, *, steps: bool = True) -> dict[str, Any]:
        """Return the report as a JSON document; without ``steps`` it has no output and is small."""
        exclude: Any = None if steps else {"jobs": {"__all__": {"steps"}}}
        return self.model_dump(mode="json", exclude=exclude)


def verdicts(rows: Iterable[Row]) -> dict[str, list[Verdict]]:
    """Return the verdicts of each project's done repeats; a project without any is left out."""
    verdicts: dict[str, list[Verdict]] = {}
    for row in rows:
        if row.verdict is not None:
            verdicts.setdefault(row.project, []).append(row.verdict)
    return verdicts


def count(rows: Iterable[Row]) -> dict[str, int]:
    """Return the number of rows in each state, zeros included."""
    counted = Counter(row.state for row in rows)
    return {state: counted[state] for state in STATES}
