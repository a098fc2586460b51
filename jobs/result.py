"""What a job came to: its verdict, and every step with its output."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

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


class StepResult(Frozen):
    """One step's outcome.

    Attributes:
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

    @property
    def clean(self) -> bool:
        """Whether the step ended well by itself: at a limit some commands exit with 0 as well."""
        ended = self.timed_out or self.cancelled or self.limit_exceeded is not None
        return self.exit_code == 0 and not ended

    @property
    def ok(self) -> bool:
        """Whether the step leaves the job free to pass; a skipped step does."""
        return self.skipped_reason is not None or self.clean or self.allow_failure

    @property
    def outcome(self) -> str:
        """How a step that is not clean ended, in words; empty for one that is."""
        if self.skipped_reason is not None:
            return f"skipped: {self.skipped_reason}"
        if self.cancelled:
            return "cancelled"
        if self.timed_out:
            return "timed out"
        if self.over_limit is not None:
            return self.over_limit
        if self.exit_code is None:
            return "its end was not seen"
        return f"exit {self.exit_code}" if self.exit_code else ""

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
        started_at: When the last attempt began; None where the job ended while it waited.
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

    @property
    def duration_s(self) -> float | None:
        """Seconds that the last attempt took; None where the job ended while it waited."""
        if self.started_at is None:
            return None
        return round(max(0.0, (self.finished_at - self.started_at).total_seconds()), 3)

    @property
    def failed_step(self) -> StepResult | None:
        """The first step that kept the job from passing."""
        return next((step for step in self.steps if not step.ok), None)
