"""The sandbox protocol: the place where steps run.

Both sandboxes pass one contract suite (``tests/contract``). A relative path starts at the workdir,
missing parents are created, and ``..`` cannot leave the sandbox. A non-zero exit is a result. A
sandbox that breaks raises :class:`~revalid.jobs.errors.SandboxLost`.
"""

import asyncio
import functools
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from revalid.jobs.globs import covering
from revalid.jobs.job import LimitName
from revalid.jobs.services import ServiceKind
from revalid.worker.sandboxes.limits import DEFAULT_LIMITS, CommandLimits
from revalid.worker.services import NeededService
from revalid.worker.serving import Probe, Serving, Visit

WORKDIR = "/workspace"
COMMAND_TIMEOUT_S = 600.0
OUTPUT_BYTES = 131_072
READ_BYTES = 16 * 2**20
OWN_REPORT = "/tmp/revalid-tests"  # noqa: S108 - in the sandbox
"""The start of the path of the report that a runner writes for us; ``TMPDIR`` replaces ``/tmp``."""
REPORT_NAMES = re.compile(
    r"(?:.*/)?(?:[^/]*junit[^/]*\.xml|TEST-[^/]*\.xml|[^/]*test[^/]*(?:result|report)[^/]*\.xml"
    r"|[^/]*ctrf[^/]*\.json|[^/]*\.tap)|(?:.*/)?(?:test-results|test-reports|surefire-reports)/.*\.xml"
)
"""Paths of reports of tests, relative to the workspace."""
MAX_REPORTS = 200
REPORT_BYTES = 8 * 2**20
"""Bytes of all reports of a command; a single one has at most half as many."""
UNREPORTED = frozenset({"node_modules", ".git", ".venv"})
"""Directories in which no report is looked for."""
KILL_GRACE_S = 5.0
CANCEL_GRACE_S = 2.0

ENVIRONMENT = {"CI": "true", "LANG": "C.UTF-8", "TZ": "UTC"}
"""The variables of each command, besides its home and search path."""

OnOutput = Callable[[Literal["stdout", "stderr"], bytes], None]
"""A function that gets the output of a command while it runs; the event loop calls it."""


class StepFailed(Exception):
    """An operation failed because of the project's files; its step fails and the job continues.

    The message names the operation, the path and the reason.
    """


class BrowserMissing(Exception):
    """There is no browser for this sandbox; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One captured stream: its head and tail within the cap, and its true size in bytes."""

    head: bytes
    tail: bytes
    size: int

    @property
    def truncated(self) -> bool:
        """Whether bytes between head and tail were left out."""
        return self.size > len(self.head) + len(self.tail)


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A file that looks like a report of tests, which a command wrote.

    Attributes:
        path: Relative to the workspace; :data:`OWN_REPORT` with a suffix for that file.
    """

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The outcome of a command.

    Attributes:
        exit_code: 128 + n if signal n ended the command.
        duration_s: Wall-clock seconds of the command itself.
        timed_out: Whether it was ended at its time limit; output until then is kept.
        limit_exceeded: The other limit at which it was ended; output until then is kept.
        cancelled: Whether it ended because its caller set ``stop``; output until then is kept.
        cached: Whether the engine replayed it from its cache; ``duration_s`` is then that of the
            original run.
        serving: What the server did that the command started; None for a command without a probe.
        setup: The outcome of the probe's setup; None without one.
        reports: The reports of tests that it wrote, where they were asked for.
        services_ready: Seconds until each service was ready, by its name.
    """

    exit_code: int
    stdout: Stream
    stderr: Stream
    duration_s: float
    timed_out: bool = False
    limit_exceeded: LimitName | None = None
    cancelled: bool = False
    cached: bool = False
    serving: Serving | None = None
    setup: "ExecResult | None" = None
    reports: tuple[WrittenReport, ...] = ()
    services_ready: Mapping[str, float] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether the command succeeded and ended by itself."""
        return self.exit_code == 0 and not (self.timed_out or self.cancelled)


async def after_setup(
    run: Callable[[str, float, Probe | None], Awaitable[ExecResult]],
    command: str,
    timeout_s: float,
    probe: Probe | None,
) -> ExecResult:
    """Run the setup of a probe, then ``command``; a setup that fails is all that runs.

    Args:
        run: Runs a command within some seconds.
    """
    if probe is None or not probe.setup:
        return await run(command, timeout_s, probe)
    setup = await run(probe.setup, timeout_s, None)
    if not setup.good or setup.limit_exceeded:
        return replace(setup, serving=Serving(setup_failed=True))
    result = await run(command, max(0.1, timeout_s - setup.duration_s), probe)
    return replace(result, setup=setup)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory."""

    name: str
    is_directory: bool


class Sandbox(Protocol):
    """A private file system with a workdir and an environment, in which commands run."""

    kind: Literal["dagger", "local"]
    workdir: str
    host_root: str
    """The worker's directory that serves as the sandbox's ``/``; empty for a container."""
    enforced: frozenset[LimitName]
    """The limits that hold even against a hostile command."""
    forks_freely: bool
    """Whether a fork copies nothing."""
    builds_images: bool
    """Whether :meth:`build_image` works."""

    async def exec(
        self,
        command: str,
        *,
        timeout_s: float = COMMAND_TIMEOUT_S,
        output_bytes: int = OUTPUT_BYTES,
        limits: CommandLimits = DEFAULT_LIMITS,
        cacheable: bool = False,
        downloads: bool = False,
        services: Sequence[NeededService] = (),
        probe: Probe | None = None,
        visit: Visit | None = None,
        reports: bool = False,
        on_output: OnOutput | None = None,
        stop: asyncio.Event | None = None,
    ) -> ExecResult:
        """Run ``command`` through ``sh -c`` in the workdir, with no standard input.

        After ``timeout_s`` seconds the whole process tree gets SIGTERM, then SIGKILL after
        :data:`KILL_GRACE_S`. A tree that exceeds one of ``limits`` gets SIGKILL at once. If this
        call is cancelled, the tree gets SIGKILL after :data:`CANCEL_GRACE_S` at the latest. When
        the command ends, its remaining processes are ended too.

        Args:
            output_bytes: Bytes to keep of each stream, half from the start and half from the end.
            cacheable: Whether an identical earlier run on identical files may be replayed.
            downloads: Whether the command may read and extend the downloads that its tenant shares.
            services: Services that run beside this command alone, each started anew. The command
                finds them by variables; those that the sandbox already has stay as they are.
            probe: What to ask the server that the command starts, on a port where a process of its
                tree listens. Once it answers well, or ``probe.ready_s`` seconds have passed, the
                process tree gets SIGTERM, then SIGKILL after :data:`KILL_GRACE_S`.
            visit: What is done with the server once it answered. It gets SIGTERM when this is done,
                or after :data:`~revalid.worker.serving.VISIT_S`. If the command ends before, the
                visit is cancelled.
            reports: Whether to return the reports of tests that the command wrote: regular files
                below the workspace with a report's name, and :data:`OWN_REPORT`; at most
                :data:`MAX_REPORTS` and :data:`REPORT_BYTES`.
            stop: An event that ends the command: SIGTERM, then SIGKILL after
                :data:`CANCEL_GRACE_S`. The result is ``cancelled`` and has the output until then.

        Raises:
            StepFailed: A service of an image that the job chose did not start, or ended.
            SandboxLost: The sandbox broke, or another service did not start or ended; nothing is
                known about the command.
            InvalidJob: No registry knows the image of a service.
        """
        ...

    async def build_image(
        self, dockerfile: str, *, timeout_s: float, output_bytes: int = OUTPUT_BYTES
    ) -> ExecResult:
        """Build the image of a ``Dockerfile`` from the files of the workspace.

        It takes no limit but the time. Layers that are known already are not built again.

        Args:
            dockerfile: The path of the ``Dockerfile``, relative to the workspace.

        Raises:
            SandboxLost: The engine or a registry failed, or this sandbox builds no images.
        """
        ...

    async def write_file(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Write one file with ``mode``.

        Raises:
            StepFailed: The path is protected, leaves the sandbox or is a directory.
        """
        ...

    async def write_files(self, files: Mapping[str, str | bytes]) -> None:
        """Write many files with mode 0644 in one operation; if one is refused, write none.

        Raises:
            StepFailed: As :meth:`write_file`.
        """
        ...

    async def read_file(self, path: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            StepFailed: There is no such file, it is larger than :data:`READ_BYTES`, or the path
                leaves the sandbox.
        """
        ...

    async def delete_file(self, path: str) -> None:
        """Delete one file.

        Raises:
            StepFailed: There is no such file, or the path is protected.
        """
        ...

    async def list_directory(self, path: str = ".") -> list[Entry]:
        """Return the entries of a directory, sorted by name.

        Raises:
            StepFailed: There is no such directory, or its names have more than :data:`READ_BYTES`
                characters.
        """
        ...

    async def set_workdir(self, path: str) -> None:
        """Set the directory where later commands and relative paths start; create it if missing.

        Raises:
            StepFailed: The path leaves the sandbox or is a file.
        """
        ...

    async def export_directory(self, path: str, host_path: Path) -> None:
        """Copy a directory of the sandbox to ``host_path`` on the worker.

        Links are copied as links and never followed.

        Raises:
            StepFailed: There is no such directory.
        """
        ...

    async def export_matching(
        self, globs: tuple[str, ...], host_path: Path, *, most_bytes: int
    ) -> None:
        """Copy the files below the workspace that match a glob to ``host_path``, a new directory.

        Globs have the syntax of ``.dockerignore``. A glob that matches a directory matches
        everything below it. If nothing matches, ``host_path``
        may not be created. Links may be copied as links and are never followed.

        Args:
            most_bytes: A total size; if the files exceed it, some may be copied without content.

        Raises:
            StepFailed: The workspace is missing, or one of its files cannot be read.
        """
        ...

    async def refresh_from_host(
        self, host_path: Path, path: str = ".", *, only: tuple[str, ...] | None = None
    ) -> None:
        """Copy a directory of the worker over ``path``; other files there stay.

        Args:
            only: Relative paths of the files to copy; None copies all.

        Raises:
            StepFailed: ``host_path`` is not a directory.
        """
        ...

    def missing_service(self, kind: ServiceKind) -> str | None:
        """Return why this sandbox cannot start a kind of service; None if it can."""
        ...

    async def open_browser(self) -> "Sandbox":
        """Open another sandbox, which has a browser and Python, and reaches this one's servers.

        Raises:
            BrowserMissing: This worker has no browser for it; the message says what to do.
            SandboxLost: It could not be opened.
        """
        ...

    async def lay_overlay(self, host_path: Path) -> None:
        """Lay the files of a directory of the worker over the workspace, read-only.

        Whatever is in their place or on the way there is replaced; no link is followed. Where a
        command's user is not root in a container, no command can change, move or remove them
        before :meth:`lift_overlay`.

        Raises:
            StepFailed: A file could not be written.
        """
        ...

    async def lift_overlay(self, host_path: Path) -> tuple[str, ...]:
        """Return the relative paths of laid files that were changed, replaced, moved or removed.

        The files stay. Call this once after :meth:`lay_overlay` with the same directory.

        Raises:
            StepFailed: The files could not be compared.
        """
        ...

    async def fork(self) -> "Sandbox":
        """Return a sandbox that starts from this one's state; later changes stay separate."""
        ...

    def with_env(self, name: str, value: str) -> None:
        """Set one variable for later commands."""
        ...

    def with_envs(self, variables: Mapping[str, str]) -> None:
        """Set many variables for later commands."""
        ...

    def with_secret(self, name: str, value: str) -> None:
        """Set a variable whose value never appears in an argument list or a log.

        A cache key holds a keyed hash of the value.
        """
        ...

    async def close(self) -> None:
        """End all processes and free the sandbox's resources; closing twice is allowed."""
        ...


def resolve(workdir: str, path: str) -> str:
    """Return the absolute, normalised form of ``path``.

    Raises:
        StepFailed: ``..`` would leave the sandbox's root.
    """
    joined = posixpath.join(workdir, path)
    depth = 0
    for part in joined.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            raise StepFailed(
                f"path {path!r} leaves the sandbox: use a path below its root, without '..'"
            )
    return posixpath.normpath("/" + joined.lstrip("/"))


def check_readable(path: str, size: int) -> None:
    """Refuse to read a file that is too large; a large sparse file takes little disk space.

    Raises:
        StepFailed: The file is larger than :data:`READ_BYTES`.
    """
    if size > READ_BYTES:
        raise StepFailed(
            f"read_file {path}: is larger than {READ_BYTES} bytes: read a part of it with a command"
        )


def check_listable(path: str, names_size: int) -> None:
    """Refuse to list a directory with too many names.

    Args:
        names_size: Characters of the names, with one more for each.

    Raises:
        StepFailed: They are more than :data:`READ_BYTES`.
    """
    if names_size > READ_BYTES:
        raise StepFailed(
            f"list_directory {path}: its names have more than {READ_BYTES} characters: "
            "list a part of it with a command"
        )


def check_unprotected(operation: str, path: str, globs: tuple[str, ...], root: str) -> None:
    """Refuse to change a file that a protected glob covers.

    A glob covers an absolute path or a path relative to ``root``, and everything below it. A glob
    without a slash covers any file of that name.

    Args:
        path: An absolute, normalised path, as :func:`resolve` returns it.

    Raises:
        StepFailed: The path is protected.
    """
    relative = posixpath.relpath(path, root)
    for glob in globs:
        pattern = posixpath.normpath(glob)
        covers = _covering(pattern)
        names = [relative, path] if "/" in pattern else [relative, path, posixpath.basename(path)]
        if any(covers.match(name) for name in names):
            raise StepFailed(
                f"{operation} {relative}: protected by {glob!r}; leave this file as it is"
            )


_covering = functools.lru_cache(512)(covering)
