"""The job: a project, the steps that validate it, and their limits."""

import hashlib
import json
import re
from enum import StrEnum
from typing import Annotated, Any, Literal, NewType, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from revalid.jobs.checks import ChosenChecks, check_choices
from revalid.jobs.constants import DAY_S
from revalid.jobs.errors import InvalidJob
from revalid.jobs.globs import MAX_WORK, TooMuchWork, Work, covering, directory_glob
from revalid.jobs.services import Service
from revalid.jobs.source import Source, TarballSource
from revalid.jobs.steps import (
    DeleteFile,
    Frozen,
    Step,
    Text,
    WriteFile,
    WriteFiles,
    check_variables,
)

DEFAULT_IMAGE = "node:20-alpine3.22"

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?"
IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_NAME}(?:/{_NAME})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(?:@sha256:[0-9a-f]{64})?\Z"
)
"""An image reference, as in the grammar of the distribution project."""


MAX_BYTES = 16 * 2**20
"""Most bytes of a job's JSON, including its steps and the contents of files in them."""
_PROTECTION_WORK = MAX_WORK // 40


class StrategyName(StrEnum):
    """A strategy that comes with revalid."""

    AUTO = "auto"
    TRPC = "trpc"
    NPM = "npm"
    PYTHON = "python"
    GO = "go"
    RUST = "rust"
    JAVA = "java"
    PHP = "php"
    RUBY = "ruby"
    DOTNET = "dotnet"
    DENO = "deno"
    STATIC = "static"
    DOCKERFILE = "dockerfile"
    COMMAND = "command"
    TRAJECTORY = "trajectory"


PlugInName = NewType("PlugInName", str)
"""The name of a plug-in's strategy, for a type checker."""
PLUG_IN = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+\Z")
"""The name of a strategy that a plug-in adds: the hyphen keeps it apart from ours."""


def _strategy(name: Any) -> Any:
    """Return the strategy of ours that a name means, or the name of a plug-in's.

    Raises:
        ValueError: It is neither.
    """
    if not isinstance(name, str) or name in list(StrategyName):
        return StrategyName(name)
    if len(name) > 64 or not PLUG_IN.match(name):
        raise ValueError(
            f"{name[:64]!r} is none of {', '.join(StrategyName)}; the name of a plug-in's strategy "
            "has a hyphen"
        )
    return name


Strategy = Annotated[StrategyName | str, BeforeValidator(_strategy)]


class SandboxPolicy(StrEnum):
    """Where steps may run. ``auto`` uses Dagger; if no engine answers, it runs the job locally."""

    LOCAL = "local"
    AUTO = "auto"
    DAGGER = "dagger"


class Lane(StrEnum):
    """The priority of a job: ``interactive`` if somebody waits for it, else ``batch``."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class LimitName(StrEnum):
    """A resource that a sandbox limits."""

    TIME = "time"
    OUTPUT = "output"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"


class Limits(Frozen):
    """The limits of a job. The sandbox decides which of them it can enforce.

    Attributes:
        command_timeout_s: Seconds that one command may take.
        job_timeout_s: Seconds that the whole job may take, from claim to result.
        output_bytes: Bytes kept of each output stream, half from the start and half from the end.
        cpu_s: Seconds of processor time that one process may use; None sets no limit.
        memory_bytes: Bytes of memory that all processes of a command may hold together.
        processes: Processes that one command may have at a time.
        disk_bytes: Bytes that one command may write; also the largest size of one file.
        required: Limits that must be enforced; a sandbox that cannot enforce one rejects the job.
        engine_wait_s: Seconds that the job may wait while no engine answers. The default is 15 in
            the interactive lane and 600 in the batch lane. Not part of the id.
    """

    command_timeout_s: float = Field(default=600, gt=0, le=DAY_S)
    job_timeout_s: float = Field(default=3_600, gt=0, le=DAY_S)
    output_bytes: int = Field(default=131_072, ge=1_024, le=1_048_576)
    engine_wait_s: float | None = Field(default=None, ge=0, le=DAY_S)
    cpu_s: float | None = Field(default=None, ge=1, le=DAY_S)
    memory_bytes: int = Field(default=8 * 2**30, ge=16 * 2**20, le=2**50)
    processes: int = Field(default=4_096, ge=1, le=2**20)
    disk_bytes: int = Field(default=20 * 2**30, ge=2**20, le=2**50)
    required: tuple[LimitName, ...] = ()

    @model_validator(mode="after")
    def _check_required(self) -> Self:
        if LimitName.CPU in self.required and self.cpu_s is None:
            raise ValueError("requires cpu, but sets no cpu_s: set cpu_s")
        return self


ArtifactGlob = Annotated[
    str, StringConstraints(pattern=r"^[^/!#\s\\][^\x00\r\n\\]*$", max_length=256)
]
"""A glob of paths below the workspace, as in ``.dockerignore``: ``dist``, ``**/junit.xml``."""

SecretRef = Annotated[
    str, StringConstraints(pattern=r"^(env://[A-Za-z_][A-Za-z0-9_]*|file:///[^\x00\r\n]+)$")
]
"""A reference to a secret on the worker: ``env://NAME`` or ``file:///path``."""


Axis = Literal["node", "python", "image"]
"""What the entries of a project's matrix differ in."""


class Job(Frozen):
    """A validation job. Its :attr:`id` is the digest of everything that decides its outcome.

    Attributes:
        tenant: The owner of the job; jobs of two tenants are never joined.
        source: The project; optional for a trajectory.
        strategy: The plug-in that makes the steps; ``command`` and ``trajectory`` take ``steps``.
        image: The container image. The default one follows the versions that the project asks for.
        fixed_image: Whether the default image was named, so that it does not follow the project.
        env: Environment variables of every command. The ledger stores them: not for secrets.
        secrets: References to secrets, by variable name. The worker looks up the values.
        protected: Globs of paths that file steps must not write or delete.
        artifacts: Globs of files to keep when the steps have ended, whatever the verdict.
        keep_going: Whether strategy ``command`` runs the remaining commands after one failed.
        session: Whether the given commands run as one Bash session.
        sandbox: Where the job may run; None leaves that to the worker.
        user: The user that runs commands in a container; None means an ordinary user.
        skip: Checks that are not to run; the result says so, and they keep no job from passing.
        require: Checks without whose proof the job does not pass.
        services: Services that run beside each test; None finds them in the project.
        expect_tests: Tests that must run at least; with fewer, the job fails.
        overlay: Trusted files that are laid over the project before each check.
        flaky: Whether a test that fails and then passes by itself fails its step; None means that
            it does, unless the project's configuration says otherwise.
        project_config: Whether the project's configuration counts.
        matrix: The entry of the project's matrix that the job runs: a version or an image.
        labels: The producer's labels for reports. Not part of the id.
        lane: The queue that the job waits in. Not part of the id.
        nonce: A value that makes the id unique; ``fresh`` sets a random one.
    """

    schema_version: Literal[1] = 1
    tenant: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    source: Source | None = None
    strategy: Strategy = StrategyName.AUTO
    steps: tuple[Step, ...] = Field(default=(), max_length=10_000)
    image: str = Field(default=DEFAULT_IMAGE, max_length=512)
    fixed_image: bool = Field(default=False, exclude_if=lambda fixed: not fixed)
    env: dict[str, Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]] = Field(
        default_factory=dict
    )
    secrets: dict[str, SecretRef] = Field(default_factory=dict)
    protected: tuple[Text, ...] = Field(default=(), max_length=256)
    artifacts: tuple[ArtifactGlob, ...] = Field(default=(), max_length=64)
    limits: Limits = Limits()
    sandbox: SandboxPolicy | None = None
    user: Literal["root"] | None = Field(default=None, exclude_if=lambda user: user is None)
    skip: ChosenChecks = Field(default=(), exclude_if=lambda skip: not skip)
    require: ChosenChecks = Field(default=(), exclude_if=lambda require: not require)
    services: tuple[Service, ...] | None = Field(
        default=None, max_length=8, exclude_if=lambda services: services is None
    )
    expect_tests: int | None = Field(
        default=None, ge=1, le=1_000_000, exclude_if=lambda number: number is None
    )
    overlay: TarballSource | None = Field(default=None, exclude_if=lambda overlay: overlay is None)
    flaky: Literal["pass", "fail"] | None = Field(
        default=None, exclude_if=lambda flaky: flaky is None
    )
    project_config: bool = Field(default=True, exclude_if=lambda read: read)
    matrix: dict[Axis, Annotated[str, StringConstraints(max_length=512)]] = Field(
        default_factory=dict, max_length=1, exclude_if=lambda matrix: not matrix
    )
    labels: dict[Text, Text] = Field(default_factory=dict, max_length=64)
    keep_going: bool = Field(default=False, exclude_if=lambda keep_going: not keep_going)
    session: bool = Field(default=False, exclude_if=lambda session: not session)
    lane: Lane = Lane.INTERACTIVE
    nonce: str | None = Field(default=None, max_length=64)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not IMAGE.match(self.image):
            raise ValueError(
                f"image {self.image!r} is not an image reference such as {DEFAULT_IMAGE!r}"
            )
        if not IMAGE.match(self.matrix.get("image", DEFAULT_IMAGE)):
            raise ValueError(f"matrix: image {self.matrix['image']!r:.80} is not a reference")
        check_variables((*self.env, *self.secrets))
        if both := sorted(self.env.keys() & self.secrets.keys()):
            raise ValueError(
                f"{', '.join(both)}: set as a variable and as a secret: keep one of the two"
            )
        for service in self.services or ():
            if service.image is not None and not IMAGE.match(service.image):
                raise ValueError(f"image {service.image!r} of {service.kind} is not a reference")
        if outside := [glob for glob in self.artifacts if ".." in glob.split("/")]:
            raise ValueError(
                f"artifacts {outside[0]!r}: give paths below the workspace, without '..'"
            )
        for glob in self.protected:
            covering(glob)
        _check_protection(self.protected, self.steps)
        for glob in self.artifacts:
            directory_glob(glob)
        carries_steps = self.strategy in (StrategyName.COMMAND, StrategyName.TRAJECTORY)
        if carries_steps != bool(self.steps):
            raise ValueError(
                f"strategy '{self.strategy}' needs at least one step"
                if carries_steps
                else f"strategy '{self.strategy}' makes its own steps: use 'command' to give steps"
            )
        if self.session and not carries_steps:
            raise ValueError("session needs given commands or steps: other strategies run checks")
        if self.keep_going and self.strategy is not StrategyName.COMMAND:
            raise ValueError(
                "keep_going needs strategy 'command': other strategies always run every check"
            )
        check_choices(self.skip, self.require, self.expect_tests)
        if (self.skip or self.require) and carries_steps:
            raise ValueError(
                f"strategy '{self.strategy}' runs the given steps alone: skip and require are for "
                "strategies that find the checks"
            )
        judged = self.expect_tests is not None or self.overlay is not None
        if judged and self.strategy is StrategyName.TRAJECTORY:
            raise ValueError("a trajectory has no checks: expect_tests and overlay are for others")
        if self.source is None and self.strategy is not StrategyName.TRAJECTORY:
            raise ValueError("no project: give a directory or a tarball")
        return self

    @property
    def id(self) -> str:
        """Return the id: 32 hex digits, a digest of everything that decides the outcome."""
        excluded: Any = {
            "labels": True,
            "lane": True,
            "limits": {"engine_wait_s"},
            "source": {"left_out"},
            "overlay": {"left_out"},
        }
        content = self.model_dump(mode="json", exclude=excluded)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]

    @property
    def follows_project(self) -> bool:
        """Return whether the image is chosen by the versions that the project asks for."""
        return self.image == DEFAULT_IMAGE and not self.fixed_image

    @property
    def engine_wait_s(self) -> float:
        """Return how many seconds the job may wait while no engine answers."""
        if self.limits.engine_wait_s is not None:
            return self.limits.engine_wait_s
        return 15.0 if self.lane is Lane.INTERACTIVE else 600.0


def _check_protection(protected: tuple[str, ...], steps: tuple[Step, ...]) -> None:
    work = Work(_PROTECTION_WORK)
    try:
        for step in steps if protected else ():
            match step:
                case WriteFile(path=path) | DeleteFile(path=path):
                    work.compare(path, len(protected))
                case WriteFiles(files=files):
                    for path in files:
                        work.compare(path, len(protected))
    except TooMuchWork as error:
        raise ValueError(f"protected: {error}") from None


def parse_job(data: Any) -> Job:
    """Parse a job from a mapping or from JSON text.

    Raises:
        InvalidJob: A field is wrong; the message is one line that names each wrong field.
    """
    try:
        if isinstance(data, str | bytes):
            size = len(data)
            job = Job.model_validate_json(data) if size <= MAX_BYTES else None
        else:
            job = Job.model_validate(data)
            size = len(job.model_dump_json())
    except ValidationError as error:
        raise InvalidJob(f"the job is not valid: {describe(error)}") from None
    if job is None or size > MAX_BYTES:
        raise InvalidJob(
            f"the job has {size} bytes, more than {MAX_BYTES}: "
            "put files into the project instead of into steps"
        )
    return job


def describe(error: ValidationError) -> str:
    """Describe every problem of a validation error in one line."""
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in problem["loc"])
        what = problem["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {what}" if where else what)
    return " ".join("; ".join(problems).split())
