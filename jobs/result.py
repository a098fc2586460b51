"""The result of a job: its verdict, and every step with its output."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, computed_field

from revalid.jobs.job import LimitName
from revalid.jobs.steps import Frozen

Enforcement = Literal["enforced", "not_enforced"]


class Verdict(StrEnum):
    """How a finished job ended."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    ERRORED = "errored"

    @property
    def judges_project(self) -> bool:
        """Whether the verdict depends on the project alone, so that it may be reused."""
        return self in (Verdict.PASSED, Verdict.FAILED)


class StepStatus(StrEnum):
    """How a step ended; ``failed`` covers every end that has no status of its own."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    LIMIT_EXCEEDED = "limit_exceeded"


VerdictName = Annotated[str, WithJsonSchema({"enum": [*Verdict], "type": "string"})]
"""A verdict in events and webhooks; a newer worker may send one that this version does not know."""
StatusName = Annotated[str, WithJsonSchema({"enum": [*StepStatus], "type": "string"})]
"""A step's status in events; a newer worker may send one that this version does not know."""


class StepResult(Frozen):
    """The outcome of one step.

    Attributes:
        status: How the step ended, whatever ``allow_failure`` is.
        name: The name of the step in reports.
        op: The type of the step.
        command: The command line of an ``exec``.
        exit_code: The exit code of the command; 128 + n if signal n ended it; 1 for a file
            operation that failed; None if nothing ran or the end is unknown.
        stdout: Head and tail of standard output within the job's cap, as text. Bytes that cannot
            be decoded are replaced.
        stderr: Head and tail of standard error, likewise.
        stdout_bytes: True size of standard output in bytes, before the cap.
        stderr_bytes: True size of standard error in bytes, before the cap.
        truncated: Whether one of the streams was larger than the cap.
        duration_s: Seconds of wall-clock time; 0 for a cached step.
        timed_out: Whether the command was ended at its time limit.
        limit_exceeded: The other limit at which the command was ended, or None.
        limit_value: The value of that limit in words, such as ``8 GiB``.
        cancelled: Whether the step was ended because its job was cancelled or its attempt was
            given up; the output until then is kept.
        cached: Whether the engine replayed the step from its cache instead of running it.
        saved_s: Seconds that a cached step took when it ran.
        allow_failure: Whether the verdict ignores a failure of the step.
        skipped_reason: Why the step did not run; None if it ran.
    """

    name: str
    op: str = "exec"
    command: str | None = None
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    truncated: bool = False
    duration_s: float = 0.0
    timed_out: bool = False
    limit_exceeded: LimitName | None = None
    limit_value: str | None = None
    cancelled: bool = False
    cached: bool = False
    saved_s: float = 0.0
    allow_failure: bool = False
    skipped_reason: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> StepStatus:
        """How the step ended. A command that was ended at a limit may still exit with 0."""
        if self.skipped_reason is not None:
            return StepStatus.SKIPPED
        if self.cancelled:
            return StepStatus.CANCELLED
        if self.timed_out:
            return StepStatus.TIMED_OUT
        if self.limit_exceeded is not None:
            return StepStatus.LIMIT_EXCEEDED
        return StepStatus.PASSED if self.exit_code == 0 else StepStatus.FAILED

    @property
    def ok(self) -> bool:
        """Whether the job can still pass after this step; true for a skipped step."""
        return self.status in (StepStatus.PASSED, StepStatus.SKIPPED) or self.allow_failure

    @property
    def outcome(self) -> str:
        """How the step ended, in words; empty if it passed."""
        match self.status:
            case StepStatus.PASSED:
                return ""
            case StepStatus.SKIPPED:
                return f"skipped: {self.skipped_reason}"
            case StepStatus.LIMIT_EXCEEDED:
                return f"{self.over_limit}"
            case StepStatus.FAILED:
                seen = self.exit_code is not None
                return f"exit {self.exit_code}" if seen else "its end was not seen"
            case status:
                return status.replace("_", " ")

    @property
    def over_limit(self) -> str | None:
        """The limit that ended the step, in words; None for the time limit or no limit."""
        if self.limit_exceeded is None:
            return None
        return f"over its {self.limit_exceeded} limit of {self.limit_value}"


class SandboxReport(Frozen):
    """The sandbox that ran the job, and the reason for it.

    Attributes:
        kind: ``dagger`` or ``local``; None if no sandbox was opened.
        fallback_reason: Why ``auto`` ran the job locally; None if it did not.
        image_digest: Digest (``sha256:``) of the image that the job's tag named; None if the
            sandbox is not a container.
    """

    kind: Literal["dagger", "local"] | None = None
    fallback_reason: str | None = None
    image_digest: str | None = None


class SourceReport(Frozen):
    """The project that was validated.

    Attributes:
                digest: Digest (``sha256:``) of the packed project.
        files: Number of files in the project.
        size_bytes: Size of the unpacked project in bytes.
    """

    digest: str | None = None
    files: int = 0
    size_bytes: int = 0


class StrategyReport(Frozen):
    """The strategy that made the steps.

    Attributes:
        reason: What in the project decided for this strategy.
    """

    name: str
    reason: str = ""


class ArtifactsReport(Frozen):
    """The artifacts of a job, kept as one archive.

    Attributes:
        digest: Digest (``sha256:``) of the ``tar.gz`` in the blob store.
        files: Number of files in the archive.
        size_bytes: Total size of these files in bytes, unpacked.
    """

    digest: str
    files: int
    size_bytes: int


class JobResult(Frozen):
    """The result of a job, as ``--json`` prints it.

    Attributes:
        enforcement: Whether the sandbox enforced each limit that the job sets; empty if no sandbox
            was opened.
        error: Why the verdict is ``rejected``, ``errored`` or ``cancelled``, and what to do.
        tools: Version of each tool that ran, by name.
        notes: Sentences that a reader should know, such as one about a missing lockfile.
        queued_s: Seconds that the job waited in all, before its first attempt and between attempts.
        duration_s: Seconds that the last attempt took; None if the job ended while it waited.
        started_at: When the last attempt began; None if the job ended while it waited.
        failed_step: Name of the first step that kept the job from passing; None if there is none.
        reused: Whether the verdict comes from an earlier run of an identical job.
    """

    schema_version: Literal[1] = 1
    id: str
    verdict: Verdict
    error: str | None = None
    sandbox: SandboxReport = SandboxReport()
    enforcement: dict[LimitName, Enforcement] = Field(default_factory=dict)
    image: str
    source: SourceReport = SourceReport()
    strategy: StrategyReport | None = None
    tools: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    artifacts: ArtifactsReport | None = None
    attempts: int
    queued_at: datetime
    queued_s: float = 0.0
    started_at: datetime | None
    finished_at: datetime
    steps: tuple[StepResult, ...] = ()
    reused: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def duration_s(self) -> float | None:
        """Seconds that the last attempt took; None if the job ended while it waited."""
        if self.started_at is None:
            return None
        return round(max(0.0, (self.finished_at - self.started_at).total_seconds()), 3)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def failed_step(self) -> str | None:
        """Name of the first step that kept the job from passing; None if there is none."""
        return next((step.name for step in self.steps if not step.ok), None)
