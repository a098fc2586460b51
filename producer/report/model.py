"""What a batch came to, as one object: the document that ``--json`` prints."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from revalid.jobs.result import JobResult, StepResult, Verdict
from revalid.jobs.steps import Frozen

PENDING, NOT_SUBMITTED = "pending", "not_submitted"
STATES = (*(verdict.value for verdict in Verdict), NOT_SUBMITTED, PENDING)
"""What a row can be: a verdict, or why it has none."""


class Row(Frozen):
    """One project of a batch, or one repeat of it; equal projects may share a job.

    Attributes:
        project: Its name in the batch.
        id: The job's id; None where it could not be submitted.
        verdict: None while the job is not done.
        failed_step: The first step that kept the job from passing.
        duration_s: Seconds that the last attempt took; None where the job ended while it waited.
        queued_s: Seconds that the job waited, before each of its attempts together.
        error: Why it was not submitted, or why the verdict is no step's doing.
        repeat: 1 for the first run of the project in this batch.
        reused: The verdict is an earlier, identical job's.
        sandbox: ``dagger`` or ``local``; None where none was opened.
        attempts: Claims of the job by workers.
        strategy: What made the steps.
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
    steps: tuple[StepResult, ...] = ()

    @classmethod
    def of(cls, project: str, result: JobResult, *, repeat: int = 1) -> Self:
        """The row of a job that is done."""
        return cls(
            project=project,
            id=result.id,
            verdict=result.verdict,
            failed_step=result.failed_step,
            duration_s=result.duration_s,
            queued_s=result.queued_s,
            error=result.error,
            repeat=repeat,
            labels=result.labels,
            reused=result.reused,
            sandbox=result.sandbox.kind,
            attempts=result.attempts,
            strategy=result.strategy.name if result.strategy else None,
            steps=result.steps,
        )

    @property
    def state(self) -> str:
        """One of :data:`STATES`."""
        if self.verdict is not None:
            return self.verdict.value
        return NOT_SUBMITTED if self.error is not None else PENDING

    @property
    def red(self) -> bool:
        """Whether it ended, and did not pass."""
        return self.state not in (Verdict.PASSED, PENDING)

    @property
    def title(self) -> str:
        """The project's name, with the number of its repeat from the second on."""
        return self.project if self.repeat == 1 else f"{self.project} (repeat {self.repeat})"


class Cause(Frozen):
    """What went wrong in the same way in one project or many.

    Attributes:
        title: The message with ``…`` where projects differ.
        check: The kind of the failed step, such as ``typecheck``; else the state of the rows.
        message: The message of one of them, as it was printed.
        projects: Names, in the batch's order.
        number: How many projects.
    """

    title: str
    check: str
    message: str
    projects: tuple[str, ...]
    number: int


class Change(Frozen):
    """A project whose verdict is not what it was; None where there was, or is, none.

    Attributes:
        reason: Why it was not submitted.
    """

    project: str
    was: Verdict | None
    now: Verdict | None
    reason: str | None = None


class Comparison(Frozen):
    """A batch beside an earlier one, by project name.

    Attributes:
        previous: The earlier batch's id.
        regressed: Passed then, and not now.
        fixed: Passes now, and did not then.
        new: Had no verdict then.
        missing: Has no verdict now: it is not done, or no part of the batch.
        not_submitted: Could not be submitted now.
        flaky: Its own repeats disagree, then or now, so that it is none of the others.
        unchanged: How many passed both times, or did not either time.
    """

    previous: str
    regressed: tuple[Change, ...] = ()
    fixed: tuple[Change, ...] = ()
    new: tuple[Change, ...] = ()
    missing: tuple[Change, ...] = ()
    not_submitted: tuple[Change, ...] = ()
    flaky: tuple[Change, ...] = ()
    unchanged: int = 0


class BatchReport(Frozen):
    """The one report of a batch.

    Attributes:
        name: What the batch was made of, such as a directory or a list.
        finished_at: None while jobs are not done.
        counts: Rows of each of :data:`STATES`.
        causes: What the failures have in common, the most frequent first.
        flaky: Projects whose repeats disagree.
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
    comparison: Comparison | None = None

    def document(self, *, steps: bool = True) -> dict[str, Any]:
        """The report for JSON; without ``steps`` it holds no output and stays small."""
        exclude: Any = None if steps else {"jobs": {"__all__": {"steps"}}}
        return self.model_dump(mode="json", exclude=exclude)


def verdicts(rows: Iterable[Row]) -> dict[str, list[Verdict]]:
    """The verdicts of each project's repeats; none of one where no repeat is done."""
    found: dict[str, list[Verdict]] = {}
    for row in rows:
        if row.verdict is not None:
            found.setdefault(row.project, []).append(row.verdict)
    return found


def count(rows: Iterable[Row]) -> dict[str, int]:
    """How many rows are in each state; every state has its number."""
    counted = Counter(row.state for row in rows)
    return {state: counted[state] for state in STATES}
