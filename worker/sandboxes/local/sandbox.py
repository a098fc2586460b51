"""The local sandbox: a temporary directory on the worker, for trusted projects only."""

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from revalid.jobs.errors import SandboxLost
from revalid.jobs.job import LimitName
from revalid.worker.file_trees import remove_tree
from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.limits import DEFAULT_LIMITS, CommandLimits
from revalid.worker.sandboxes.local import bubblewrap, process
from revalid.worker.sandboxes.local.bubblewrap import OWN
from revalid.worker.sandboxes.local.files import Files, clone
from revalid.worker.sandboxes.local.orphan_reaper import orphan_reaper
from revalid.worker.sandboxes.local.process import run
from revalid.worker.sandboxes.local.process_tree import MARKER, ProcessTree
from revalid.worker.sandboxes.protocol import Entry, ExecResult, OnOutput, StepFailed, resolve
from revalid.worker.sandboxes.shielding import shielded
from revalid.worker.sandboxes.staging import as_bytes

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)
_ENFORCED_BARE = frozenset({LimitName.TIME, LimitName.OUTPUT, LimitName.CPU})


class LocalSandbox:
    """A sandbox in a private temporary directory; it isolates files and processes from mistakes.

    The sandbox's ``/`` is a directory, so a command names its files by relative paths. Without
    bubblewrap it is no security boundary: a command does what the worker's user may, and a process
    that clears its environment, leaves its session and loses its parent outlives the command and
    escapes the limits of memory, processes and disk.
    """

    kind: Literal["dagger", "local"] = "local"
    forks_freely = False

    def __init__(
        self,
        *,
        passthrough: Mapping[str, str],
        scratch: Path | None = None,
        protected: tuple[str, ...] = (),
        hidden: tuple[Path, ...] = (),
        jailed: bool | None = None,
    ) -> None:
        """Make the directory.

        Args:
            passthrough: Variables of the worker that commands see; nothing else of its
                environment but ``PATH`` reaches them.
            scratch: Where to make it; the system's temporary directory by default.
            protected: Globs that reject writes and deletes, relative to ``/workspace``.
            hidden: Files and directories that commands in bubblewrap do not see.
            jailed: Whether commands run in bubblewrap; by default where it works.

        Raises:
            SandboxLost: The directory cannot be made, or there is no shell.
        """
        self.workdir = protocol.WORKDIR
        self._passthrough, self._protected = dict(passthrough), protected
        self._scratch, self._hidden = scratch, hidden
        self._jailed = bubblewrap.works() if jailed is None else jailed
        self.enforced = frozenset(LimitName) if self._jailed else _ENFORCED_BARE
        self._variables: dict[str, str] = {}
        self._lock, self._stop = asyncio.Lock(), asyncio.Event()
        self._removed = False
        self._directory = _make_directory(scratch, jailed=self._jailed)
        self.host_root = str(self._directory / "root")
        self._files = Files(self._directory / "root", protected)
        self._files.make_directory("open", self.workdir)

    async def exec(
        self,
        command: str,
        *,
        timeout_s: float = protocol.COMMAND_TIMEOUT_S,
        output_bytes: int = protocol.OUTPUT_BYTES,
        limits: CommandLimits = DEFAULT_LIMITS,
        cacheable: bool = False,
        downloads: bool = False,
        on_output: OnOutput | None = None,
        stop: asyncio.Event | None = None,
    ) -> ExecResult:
        """As :meth:`.Sandbox.exec`; nothing is ever replayed, or kept.

        Raises:
            StepFailed: The workdir leads out of the sandbox, or the command is too long.
            SandboxLost: The command could not be started, or the sandbox was closed meanwhile.
        """
        async with self._turn("exec"):
            cwd = self._files.make_directory("exec", self.workdir)
            result = await run(
                command,
                cwd=cwd,
                env=self._environment(),
                timeout_s=timeout_s,
                output_bytes=output_bytes,
                limits=limits,
                on_output=on_output,
                stops=(self._stop, stop or asyncio.Event()),
                jail=self._jail if self._jailed else None,
            )
            self._check_open("exec")
            return result

    async def write_file(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """As :meth:`.Sandbox.write_file`."""
        async with self._turn("write_file"):
            files = {resolve(self.workdir, path): as_bytes(content)}
            await _blocking(self._files.write, "write_file", files, mode)

    async def write_files(self, files: Mapping[str, str | bytes]) -> None:
        """As :meth:`.Sandbox.write_files`."""
        async with self._turn("write_files"):
            found = {resolve(self.workdir, path): as_bytes(data) for path, data in files.items()}
            await _blocking(self._files.write, "write_files", found)

    async def read_file(self, path: str) -> bytes:
        """As :meth:`.Sandbox.read_file`."""
        async with self._turn("read_file"):
            return await _blocking(self._files.read, resolve(self.workdir, path))

    async def delete_file(self, path: str) -> None:
        """As :meth:`.Sandbox.delete_file`; a link is deleted itself."""
        async with self._turn("delete_file"):
            await _blocking(self._files.delete, resolve(self.workdir, path))

    async def list_directory(self, path: str = ".") -> list[Entry]:
        """As :meth:`.Sandbox.list_directory`."""
        async with self._turn("list_directory"):
            return await _blocking(self._files.entries, resolve(self.workdir, path))

    async def set_workdir(self, path: str) -> None:
        """As :meth:`.Sandbox.set_workdir`."""
        async with self._turn("set_workdir"):
            workdir = resolve(self.workdir, path)
            await _blocking(self._files.make_directory, "set_workdir", workdir)
            self.workdir = workdir

    async def export_directory(self, path: str, host_path: Path) -> None:
        """As :meth:`.Sandbox.export_directory`."""
        async with self._turn("export_directory"):
            await _blocking(self._files.export, resolve(self.workdir, path), host_path)

    async def export_matching(
        self, globs: tuple[str, ...], host_path: Path, *, most_bytes: int
    ) -> None:
        """As :meth:`.Sandbox.export_matching`."""
        async with self._turn("export_matching"):
            await _blocking(self._files.export_matching, globs, host_path, most_bytes)

    async def refresh_from_host(
        self, host_path: Path, path: str = ".", *, only: tuple[str, ...] | None = None
    ) -> None:
        """As :meth:`.Sandbox.refresh_from_host`.

        Raises:
            StepFailed: Also where a path of ``only`` is missing, a directory, or behind a link
                that leaves ``host_path``.
        """
        async with self._turn("refresh_from_host"):
            await _blocking(self._files.refresh, host_path, resolve(self.workdir, path), only)

    async def fork(self) -> "LocalSandbox":
        """As :meth:`.Sandbox.fork`: files are copied, blocks shared where possible.

        Raises:
            SandboxLost: The files could not be copied.
        """
        async with self._turn("fork"):
            child = LocalSandbox(
                passthrough=self._passthrough,
                scratch=self._scratch,
                protected=self._protected,
                hidden=self._hidden,
                jailed=self._jailed,
            )
            try:
                await _blocking(clone, self._copied(), child._copied())
            except BaseException:
                await child.close()
                raise
            child.workdir, child._variables = self.workdir, dict(self._variables)
            return child

    def with_env(self, name: str, value: str) -> None:
        """As :meth:`.Sandbox.with_env`."""
        self._variables[name] = value

    def with_envs(self, variables: Mapping[str, str]) -> None:
        """As :meth:`.Sandbox.with_envs`."""
        self._variables.update(variables)

    def with_secret(self, name: str, value: str) -> None:
        """As :meth:`.Sandbox.with_secret`."""
        self._variables[name] = value

    async def close(self) -> None:
        """As :meth:`.Sandbox.close`; a command that runs is ended first.

        Raises:
            SandboxLost: A process could not be ended.
        """
        self._stop.set()
        await shielded(self._end())

    async def _end(self) -> None:
        async with self._lock:
            if self._removed:
                return
            self._removed = True
            try:
                await ProcessTree(str(self._directory)).end(protocol.CANCEL_GRACE_S)
            finally:
                try:
                    await asyncio.to_thread(remove_tree, self._directory)
                    orphan_reaper.release(self._directory)
                except OSError as error:
                    _log.warning("close: remove %s by hand: %s", self._directory, error)

    @asynccontextmanager
    async def _turn(self, operation: str) -> AsyncIterator[None]:
        """One operation at a time: each starts from the state that the one before left."""
        async with self._lock:
            self._check_open(operation)
            self._mend(operation)
            yield

    def _mend(self, operation: str) -> None:
        """Make anew what a command removed; without bubblewrap it can.

        Raises:
            StepFailed: It put something else in its place.
        """
        for name in OWN:
            path = self._directory / name
            try:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                broken = path.is_symlink()
            except OSError:
                broken = True
            if broken:
                raise StepFailed(
                    f"{operation}: an earlier command replaced {path}, which is this sandbox's "
                    "own; leave it as it is"
                )

    def _check_open(self, operation: str) -> None:
        if self._stop.is_set():
            raise SandboxLost(f"{operation}: this local sandbox is closed; open a new one")

    def _jail(self, variables: Mapping[str, str]) -> list[str]:
        return bubblewrap.arguments(self._directory, variables, self._hidden, self._passthrough)

    def _copied(self) -> tuple[Path, Path]:
        return self._directory / "root", self._directory / "home"

    def _environment(self) -> dict[str, str]:
        home = self._directory / "home"
        path = bubblewrap.search_path(self._passthrough)
        return {
            "CI": "true",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self._directory / "tmp"),
            "npm_config_prefix": str(home / ".npm-global"),
            **self._passthrough,
            "PATH": os.pathsep.join([f"{home}/.npm-global/bin", f"{home}/.local/bin", path]),
            **self._variables,
            MARKER: str(self._directory),
        }


def _make_directory(scratch: Path | None, *, jailed: bool) -> Path:
    if not os.access(process.SHELL, os.X_OK):
        raise SandboxLost(
            f"local sandbox: this worker has no {process.SHELL}; "
            "install one, or use the dagger sandbox"
        )
    made: Path | None = None
    try:
        made = Path(os.path.realpath(tempfile.mkdtemp(prefix="revalid-", dir=scratch)))
        for name in OWN:
            (made / name).mkdir(mode=0o700)
        if jailed:
            bubblewrap.make_directories(made)
        orphan_reaper.hold(made)
    except OSError as error:
        if made is not None:
            remove_tree(made)
        raise SandboxLost(
            f"local sandbox: cannot be made in {scratch or tempfile.gettempdir()}: "
            f"{error.strerror or error}; make it writable, or free space and processes"
        ) from error
    return made


async def _blocking(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await shielded(asyncio.to_thread(work, *args, **kwargs))
