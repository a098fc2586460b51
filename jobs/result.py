"""What a job came to: its verdict, and every step with its output."""

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
        """Whether the verdict speaks of the project alone, so that it may be reused."""
        return self in (Verdict.PASSED, Verdict.FAILED)


class StepStatus(StrEnum):
    """How a step ended; ``failed`` is every end for which there is no other word."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    LIMIT_EXCEEDED = "limit_exceeded"


VerdictName = Annotated[str, WithJsonSchema({"enum": [*Verdict], "type": "string"})]
"""A verdict as events and webhooks carry it: a newer worker may send one that is not known here."""
StatusName = Annotated[str, WithJsonSchema({"enum": [*StepStatus], "type": "string"})]
"""A step's status, likewise."""


class StepResult(Frozen):
    """One step's outcome.

    Attributes:
        status: How it ended, also where ``allow_failure`` keeps it from deciding the verdict.
        name: What reports call the step.
        op: The step type.
        command: The command line of an ``exec``.
        exit_code: The command's exit code, 128 + n where signal n ended it; 1 for a file
            operation that failed; None where nothing ran, or nobody saw the end.
        stdout: Head and tail within the job's cap; text, undecodable bytes replaced.
        stderr: The same for standard error.
        stdout_bytes: True size in bytes before the cap.
        stderr_bytes: The same for standard error.
        truncated: Either stream was larger than the cap.
        duration_s: Wall seconds.
        timed_out: The command was ended at its limit.
        limit_exceeded: The other limit at which the command was ended.
        limit_value: That limit in words, such as ``8 GiB``.
        cancelled: It was ended since its job was cancelled or its attempt given up; what it printed
            until then is kept.
        cached: Replayed from the engine's cache rather than run now, which took no time.
        saved_s: Seconds that a cached step took when it ran.
        allow_failure: The step's outcome does not decide the verdict.
        skipped_reason: Why the step did not run; None where it did.
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
        """How the step ended; at a limit some commands exit with 0 as well."""
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
        """Whether the step leaves the job free to pass; a skipped step does."""
        return self.status in (StepStatus.PASSED, StepStatus.SKIPPED) or self.allow_failure

    @property
    def outcome(self) -> str:
        """How a step that did not pass ended, in words; empty for one that passed."""
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
        """The limit besides time that ended the step, in words."""
        if self.limit_exceeded is None:
            return None
        return f"over its {self.limit_exceeded} limit of {self.limit_value}"


class SandboxReport(Frozen):
    """Which sandbox ran the job, and why not another.

    Attributes:
        kind: ``dagger`` or ``local``; None where none was opened.
        fallback_reason: Why ``auto`` ran locally.
        image_digest: ``sha256:`` of the image to which the job's tag was resolved; None where the
            sandbox is no container.
    """

    kind: Literal["dagger", "local"] | None = None
    fallback_reason: str | None = None
    image_digest: str | None = None


class SourceReport(Frozen):
    """The project that was validated.

    Attributes:
        digest: ``sha256:`` of the packed project.
        files: Files in it.
        size_bytes: Bytes of it, unpacked.
    """

    digest: str | None = None
    files: int = 0
    size_bytes: int = 0


class StrategyReport(Frozen):
    """The strategy that made the steps, and what it saw in the project."""

    name: str
    reason: str = ""


class ArtifactsReport(Frozen):
    """The files that were kept, as one archive.

    Attributes:
        digest: ``sha256:`` of the tar.gz in the blob store.
        files: Files in it.
        size_bytes: Bytes of them, unpacked.
    """

    digest: str
    files: int
    size_bytes: int


class JobResult(Frozen):
    """The one result of a job, as ``--json`` prints it.

    Attributes:
        enforcement: What the sandbox that ran the job does for each limit that the job sets; empty
            where none was opened.
        error: Why the verdict is ``rejected``, ``errored`` or ``cancelled``, with a fix.
        tools: Version of each tool that ran, by name.
        notes: What a reader should know, such as a missing lockfile.
        queued_s: Seconds that the job waited, before each of its attempts together.
        duration_s: Seconds that the last attempt took; None where the job ended while it waited.
        started_at: When the last attempt began; None where the job ended while it waited.
        failed_step: Name of the first step that kept the job from passing; None where none did.
        reused: The verdict of an earlier, identical job.
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
        """Seconds that the last attempt took; None where the job ended while it waited."""
        if self.started_at is None:
            return None
        return round(max(0.0, (self.finished_at - self.started_at).total_seconds()), 3)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def failed_step(self) -> str | None:
        """Name of the first step that kept the job from passing."""
        return next((step.name for step in self.steps if not step.ok), None)
