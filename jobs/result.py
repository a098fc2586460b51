"""The result of a job: its verdict, and every step with its output."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema, computed_field

from revalid.jobs.checks import CheckName
from revalid.jobs.counted import counted
from revalid.jobs.job import LimitName
from revalid.jobs.services import ServiceReport
from revalid.jobs.source import LeftOut
from revalid.jobs.steps import Frozen

Enforcement = Literal["enforced", "not_enforced"]


class Verdict(StrEnum):
    """How a finished job ended."""

    PASSED = "passed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    """Nothing failed, but a check that the project has, or the job requires, could not be done."""
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
    NO_TESTS = "no_tests"
    """It was to run tests and found none."""
    LIMIT_EXCEEDED = "limit_exceeded"
    ERRORED = "errored"
    """A registry, the network or the machine failed it, and not the project."""


VerdictName = Annotated[str, WithJsonSchema({"enum": [*Verdict], "type": "string"})]
"""A verdict in events and webhooks; a newer worker may send one that this version does not know."""
StatusName = Annotated[str, WithJsonSchema({"enum": [*StepStatus], "type": "string"})]
"""A step's status in events; a newer worker may send one that this version does not know."""


class TestCase(Frozen):
    """One test of a step.

    Attributes:
        name: The test's full name, with the groups that it is in.
        file: The file that holds it, as the runner names it.
        duration_s: Wall seconds.
        message: Why it failed or was skipped; its first lines.
        flaky: Whether it failed at first and passed when it ran again by itself.
    """

    __test__: ClassVar[bool] = False

    name: str
    status: Literal["passed", "failed", "skipped"]
    file: str | None = None
    duration_s: float | None = None
    message: str | None = None
    flaky: bool = False


class TestReport(Frozen):
    """The tests that a step ran.

    Attributes:
        runner: The program that ran them, such as ``vitest``; None where its words do not say.
        source: What was counted: the runner's machine-readable ``report``, the ``summary`` that it
            printed, or report ``files`` that the run wrote.
        passed: Tests that passed, at the first try or, if flaky, at the second.
        failed: Tests that failed, errors and suites that could not be loaded included.
        skipped: Tests that were found and left out.
        flaky: Tests among the passed ones that failed at first.
        cases: Every failed and flaky test, then others up to a bound; empty for a ``summary``.
        cases_omitted: Tests without a case here.
    """

    __test__: ClassVar[bool] = False

    runner: str | None = None
    source: Literal["report", "summary", "files"]
    passed: int = Field(ge=0)
    failed: int = Field(ge=0)
    skipped: int = Field(default=0, ge=0)
    flaky: int = Field(default=0, ge=0)
    cases: tuple[TestCase, ...] = ()
    cases_omitted: int = Field(default=0, ge=0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def executed(self) -> int:
        """Tests that ran."""
        return self.passed + self.failed


class StartReport(Frozen):
    """What a server did that a step started.

    Attributes:
        ready_s: Seconds from the server's start to its first good answer; None if there was none,
            or it did not stay up for a second.
        setup_s: Seconds that its migrations took before; None without any.
        port: The port of the last answer, else one where it listened; None if it did not listen.
        path: The path that was asked, or a script of the page; None without an answer.
        status: The status of the answer; None without one.
        body: The first lines of the answer's body.
        ignored_sigterm: Whether it had to be killed: it did not end within seconds of SIGTERM.
        problem: Why it did not start, in words; None if it did.
    """

    ready_s: float | None = None
    setup_s: float | None = None
    port: int | None = None
    path: str | None = None
    status: int | None = None
    body: str = ""
    ignored_sigterm: bool = False
    problem: str | None = None


class PageReport(Frozen):
    """A page of a started server, as a browser showed it.

    Attributes:
        width: The width of the window: that of a ``desktop`` or of a ``phone``.
        status: The status of the answer; None without one.
        errors: Uncaught exceptions, console errors and failed requests; the first lines of some.
        problem: Why the page fails the check, in words; None if it does not.
        screenshot: The name of its PNG among the job's artifacts; None without one.
    """

    path: str
    width: Literal["desktop", "phone"]
    title: str = ""
    status: int | None = None
    errors: tuple[str, ...] = ()
    problem: str | None = None
    screenshot: str | None = None


class RenderReport(Frozen):
    """The pages of a started server in a browser.

    Attributes:
        browser: Name and version of the browser; None if it did not start.
        left_out: Paths that the first page links to and that were not opened.
        duration_s: Seconds that the browser took.
        problem: Why the check failed, in words; None if it did not.
        not_judged: Why nothing is known, in words, such as no browser; None if the pages were
            judged.
        required: Whether a problem fails the step.
        thumbnail: A small JPEG of the first page, in base64; empty without one.
    """

    browser: str | None = None
    pages: tuple[PageReport, ...] = ()
    left_out: int = 0
    duration_s: float = 0.0
    problem: str | None = None
    not_judged: str | None = None
    required: bool = False
    thumbnail: str = ""

    @property
    def paths(self) -> int:
        """Number of paths that were opened."""
        return len({page.path for page in self.pages})


class StepResult(Frozen):
    """The outcome of one step.

    Attributes:
        status: How the step ended, whatever ``allow_failure`` is.
        name: The name of the step in reports.
        check: What the step is to prove; None for a step that proves nothing by itself.
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
        tampered: Which file of the overlay was changed while the step ran, in words; None if none.
        fault: How our side failed the step, such as the line in which its package manager says that
            a registry answered 503; None if it did not.
        tests: The tests that it ran; None where they could not be counted.
        flaky_passes: Whether flaky tests leave the step passed.
        start: What the server did that it started; None if it started none.
        render: How its pages looked in a browser; None if it has none.
    """

    name: str
    check: CheckName | None = None
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
    tampered: str | None = None
    fault: str | None = Field(default=None, exclude_if=lambda fault: fault is None)
    tests: TestReport | None = None
    flaky_passes: bool = False
    start: StartReport | None = None
    render: RenderReport | None = Field(default=None, exclude_if=lambda render: render is None)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> StepStatus:
        """How the step ended. A command that was ended at a limit may still exit with 0."""
        if self.skipped_reason is not None:
            return StepStatus.SKIPPED
        if self.cancelled:
            return StepStatus.CANCELLED
        if self.tampered is not None:
            return StepStatus.FAILED
        if self.timed_out:
            return StepStatus.TIMED_OUT
        if self.limit_exceeded is not None:
            return StepStatus.LIMIT_EXCEEDED
        if self.fault is not None:
            return StepStatus.ERRORED
        tests = self.tests
        found_none = tests is not None and not tests.executed
        if found_none and (self.exit_code == 0 or self._pytest_found_none):
            return StepStatus.NO_TESTS
        if self.flaky_passes and tests is not None and tests.flaky and not tests.failed:
            return StepStatus.PASSED
        if self.start is not None:  # its end was asked for, whatever its exit code
            return StepStatus.PASSED if self._server_problem is None else StepStatus.FAILED
        if self.exit_code != 0 or (tests is not None and tests.failed):
            return StepStatus.FAILED
        return StepStatus.PASSED

    @property
    def _pytest_found_none(self) -> bool:
        """Whether pytest ended with its exit code for no collected test, which is no failure."""
        return self.exit_code == 5 and self.tests is not None and self.tests.runner == "pytest"

    @property
    def screenshots(self) -> tuple[str, ...]:
        """Names of the screenshots of its pages, among the job's artifacts."""
        pages = self.render.pages if self.render is not None else ()
        return tuple(page.screenshot for page in pages if page.screenshot)

    @property
    def _server_problem(self) -> str | None:
        """What keeps the server that the step started from being good; None if nothing does."""
        if self.start is not None and self.start.problem is not None:
            return self.start.problem
        return self.render.problem if self.render is not None and self.render.required else None

    @property
    def ok(self) -> bool:
        """Whether the step did not fail the job; true for a skipped step."""
        harmless = (StepStatus.PASSED, StepStatus.SKIPPED, StepStatus.NO_TESTS)
        return self.status in harmless or self.allow_failure

    @property
    def outcome(self) -> str:
        """How the step ended, in words; empty if it passed."""
        match self.status:
            case StepStatus.PASSED:
                return ""
            case StepStatus.SKIPPED:
                return f"skipped: {self.skipped_reason}"
            case StepStatus.NO_TESTS:
                return "ran no test"
            case StepStatus.LIMIT_EXCEEDED:
                return f"{self.over_limit}"
            case StepStatus.ERRORED:
                return f"errored: {self.fault}"
            case StepStatus.FAILED if self.tampered is not None:
                return self.tampered
            case StepStatus.FAILED:
                if self.start is not None:
                    return self._server_problem or ""
                if self.exit_code is None:
                    return "its end was not seen"
                return f"exit {self.exit_code}{self._failed_tests}"
            case status:
                return status.replace("_", " ")

    @property
    def _failed_tests(self) -> str:
        tests = self.tests
        if tests is None:
            return ""
        failed = flaky = ""
        if tests.failed:
            although = " although" if self.exit_code == 0 else ""
            failed = f",{although} {tests.failed} of {counted(tests.executed, 'test')} failed"
        if tests.flaky:
            flaky = f", {counted(tests.flaky, 'flaky test')} passed when run again"
        return failed + flaky

    @property
    def over_limit(self) -> str | None:
        """The limit that ended the step, in words; None for the time limit or no limit."""
        if self.limit_exceeded is None:
            return None
        return f"over its {self.limit_exceeded} limit of {self.limit_value}"


class Proven(Frozen):
    """What a job proved, such as ``191 tests passed``.

    Attributes:
        step: The step that proved it.
    """

    check: CheckName
    step: str
    words: str


class Unproven(Frozen):
    """What a job did not prove, and why.

    Attributes:
        step: The step that was to prove it; None where there was none.
        decides: Whether it keeps the job from passing.
    """

    check: CheckName
    step: str | None = None
    reason: str
    decides: bool

    @property
    def words(self) -> str:
        """What was not proven and why, in one line."""
        return f"{self.step or self.check}: {self.reason}"


class SandboxReport(Frozen):
    """The sandbox that ran the job, and the reason for it.

    Attributes:
        kind: ``dagger`` or ``local``; None if no sandbox was opened.
        fallback_reason: Why ``auto`` ran the job locally; None if it did not.
        image_digest: Digest (``sha256:``) of the image that the job's tag named; None if the
            sandbox is not a container.
        toolchain: Digest (``sha256:``) of the worker's programs that the local sandbox used; None
            for a container.
    """

    kind: Literal["dagger", "local"] | None = None
    fallback_reason: str | None = None
    image_digest: str | None = None
    toolchain: str | None = Field(default=None, exclude_if=lambda toolchain: toolchain is None)


class SourceReport(Frozen):
    """The project that was validated.

    Attributes:
        digest: Digest (``sha256:``) of the packed project.
        files: Number of files in the project.
        size_bytes: Size of the unpacked project in bytes.
        left_out: What the producer did not pack, and why.
    """

    digest: str | None = None
    files: int = 0
    size_bytes: int = 0
    left_out: tuple[LeftOut, ...] = ()


class OverlayReport(Frozen):
    """The trusted files that were laid over the project before each check.

    Attributes:
        digest: Digest (``sha256:``) of the packed overlay.
        files: Number of its files.
    """

    digest: str
    files: int


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
        proven: What the job proved, in the order of the steps.
        unproven: What it did not prove: checks that failed, did not run or are not there.
        services: The services that ran beside its tests.
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
    overlay: OverlayReport | None = None
    strategy: StrategyReport | None = None
    tools: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    proven: tuple[Proven, ...] = ()
    unproven: tuple[Unproven, ...] = ()
    services: tuple[ServiceReport, ...] = ()
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

    @property
    def explanation(self) -> str:
        """Why the job did not pass, in one line; empty if it did."""
        if self.verdict is Verdict.PASSED:
            return ""
        first = next((item.words for item in self.unproven if item.decides), "")
        return self.error or self.failed_step or first
