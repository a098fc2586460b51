"""The sandbox protocol: where steps run.

Both sandboxes pass one contract suite (``tests/contract``). A relative path starts at the workdir,
parents are made, and ``..`` cannot leave the sandbox. A non-zero exit is a result; a sandbox that
breaks raises :class:`~revalid.jobs.errors.SandboxLost`.
"""

import asyncio
import functools
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from revalid.jobs.globs import covering
from revalid.jobs.job import LimitName
from revalid.worker.sandboxes.limits import DEFAULT_LIMITS, CommandLimits

WORKDIR = "/workspace"
COMMAND_TIMEOUT_S = 600.0
OUTPUT_BYTES = 131_072
READ_BYTES = 16 * 2**20
KILL_GRACE_S = 5.0
CANCEL_GRACE_S = 2.0

OnOutput = Callable[[Literal["stdout", "stderr"], bytes], None]
"""Called from the event loop with output while the command runs, as far as it can be had live."""


class StepFailed(Exception):
    """An operation could not be done on these files; the step fails and the job goes on.

    The message names the operation, the path and the reason.
    """


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
class ExecResult:
    """How a command ended.

    Attributes:
        exit_code: 128 + n where signal n ended it.
        duration_s: Wall seconds of the command itself.
        timed_out: It was ended at its limit; output until then is kept.
        limit_exceeded: The other limit at which it was ended; output until then is kept.
        cancelled: It was ended since its caller asked for that; output until then is kept.
        cached: Replayed from the engine's cache; ``duration_s`` is that of the run.
    """

    exit_code: int
    stdout: Stream
    stderr: Stream
    duration_s: float
    timed_out: bool = False
    limit_exceeded: LimitName | None = None
    cancelled: bool = False
    cached: bool = False

    @property
    def good(self) -> bool:
        """Whether the command succeeded, and was not ended on the way."""
        return self.exit_code == 0 and not (self.timed_out or self.cancelled)


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
    """The worker's directory that is the sandbox's ``/``; empty for a container."""
    enforced: frozenset[LimitName]
    """The limits that hold against a command that means to get around them."""
    forks_freely: bool
    """Whether a fork copies nothing."""

    async def exec(
        self,
        command: str,
        *,
        timeout_s: float = COMMAND_TIMEOUT_S,
        output_bytes: int = OUTPUT_BYTES,
        limits: CommandLimits = DEFAULT_LIMITS,
        cacheable: bool = False,
        downloads: bool = False,
        on_output: OnOutput | None = None,
        stop: asyncio.Event | None = None,
    ) -> ExecResult:
        """Run ``command`` through ``sh -c`` in the workdir, with no standard input.

        At ``timeout_s`` seconds the whole process tree gets SIGTERM, then SIGKILL after
        :data:`KILL_GRACE_S`. It gets SIGKILL at once above one of ``limits``, and at the latest
        :data:`CANCEL_GRACE_S` after this call is cancelled. Processes left behind when the command
        ends are ended too.

        Args:
            output_bytes: Bytes of each stream kept, half head and half tail.
            cacheable: An identical earlier run on identical files may be replayed.
            downloads: It may find what installs of the tenant downloaded before, and leave its own.
            stop: Set, it ends the command: SIGTERM, after :data:`CANCEL_GRACE_S` SIGKILL. The
                result is ``cancelled``, and has what was printed until then.

        Raises:
            SandboxLost: The sandbox broke; nothing is known about the command.
        """
        ...

    async def write_file(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Write one file with ``mode``.

        Raises:
            StepFailed: The path is protected, leaves the sandbox or is a directory.
        """
        ...

    async def write_files(self, files: Mapping[str, str | bytes]) -> None:
        """Write many files, each 0644, as one operation: all or none where one is refused.

        Raises:
            StepFailed: As :meth:`write_file`.
        """
        ...

    async def read_file(self, path: str) -> bytes:
        """The file's bytes, whatever they are.

        Raises:
            StepFailed: There is no such file, it has more than :data:`READ_BYTES`, or the path
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
        """The names in a directory, sorted.

        Raises:
            StepFailed: There is no such directory.
        """
        ...

    async def set_workdir(self, path: str) -> None:
        """Start later commands and relative paths at ``path``; it is made if missing.

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
        """Copy the files below the workspace that match to ``host_path``, which is new.

        Of files that all together would have over ``most_bytes``, some may lack their content.

        A glob is one of ``.dockerignore``; that of a directory is of all below it. Where none
        matches, ``host_path`` may be missing. Links may be copied as links, and are never followed.

        Raises:
            StepFailed: The workspace is gone, or a file of it is not to be read.
        """
        ...

    async def refresh_from_host(
        self, host_path: Path, path: str = ".", *, only: tuple[str, ...] | None = None
    ) -> None:
        """Copy a directory of the worker over ``path``; files that are not in it stay.

        Args:
            only: Relative paths of the files to copy; all where None.

        Raises:
            StepFailed: ``host_path`` is no directory.
        """
        ...

    async def fork(self) -> "Sandbox":
        """A sandbox that starts from this one's state; neither sees the other's later changes."""
        ...

    def with_env(self, name: str, value: str) -> None:
        """Set one variable for later commands."""
        ...

    def with_envs(self, variables: Mapping[str, str]) -> None:
        """Set many variables for later commands."""
        ...

    def with_secret(self, name: str, value: str) -> None:
        """Set a variable whose value is never an argument, a cache key in clear or a log line."""
        ...

    async def close(self) -> None:
        """End what still runs and free what the sandbox holds; closing twice is allowed."""
        ...


def resolve(workdir: str, path: str) -> str:
    """The absolute, normalised form of ``path``.

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
    """Refuse to read a file that is too large, which may take no room on disk.

    Raises:
        StepFailed: It has more than :data:`READ_BYTES`.
    """
    if size > READ_BYTES:
        raise StepFailed(
            f"read_file {path}: is larger than {READ_BYTES} bytes: read a part of it by a command"
        )


def check_unprotected(operation: str, path: str, globs: tuple[str, ...], root: str) -> None:
    """Refuse to change a file that a protected glob covers.

    A glob covers a path relative to ``root`` or absolute, any of its parents, and without a slash
    any file of that name.

    Args:
        path: Absolute and normalised, as :func:`resolve` gives it.

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
