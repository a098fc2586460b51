"""The local sandbox: a temporary directory on the worker, for trusted projects only."""

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from revalid.jobs.errors import SandboxLost
from revalid.jobs.job import LimitName
from revalid.jobs.services import ServiceKind
from revalid.worker.browser import BROWSER, find_browser
from revalid.worker.file_trees import remove_tree
from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.limits import DEFAULT_LIMITS, CommandLimits
from revalid.worker.sandboxes.local import bubblewrap, process
from revalid.worker.sandboxes.local.bubblewrap import OWN_DIRECTORIES
from revalid.worker.sandboxes.local.files import Files, clone
from revalid.worker.sandboxes.local.orphan_reaper import orphan_reaper
from revalid.worker.sandboxes.local.overlay import Stamp, changed, lay
from revalid.worker.sandboxes.local.probe import with_its_port
from revalid.worker.sandboxes.local.process import run
from revalid.worker.sandboxes.local.process_tree import MARKER, ProcessTree
from revalid.worker.sandboxes.local.reports import file_time, written_reports
from revalid.worker.sandboxes.local.services import free_port, missing, running
from revalid.worker.sandboxes.protocol import (
    BrowserMissing,
    Entry,
    ExecResult,
    OnOutput,
    StepFailed,
    after_setup,
    resolve,
)
from revalid.worker.sandboxes.shielding import shielded
from revalid.worker.sandboxes.staging import as_bytes
from revalid.worker.services import NeededService, service_variables
from revalid.worker.serving import Probe, Visit

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)
_ENFORCED_BARE = frozenset({LimitName.TIME, LimitName.OUTPUT, LimitName.CPU})


class LocalSandbox:
    """A sandbox in a private temporary directory; it isolates files and processes from mistakes.

    The sandbox's ``/`` is a directory, so commands use relative paths. Without bubblewrap it is not
    a security boundary: a command may do everything that the worker's user may. A process that
    clears its environment, leaves its session and loses its parent then outlives the command and
    escapes the limits of memory, processes and disk.
    """

    kind: Literal["dagger", "local"] = "local"
    forks_freely = False
    builds_images = False

    def __init__(
        self,
        *,
        passthrough: Mapping[str, str],
        scratch: Path | None = None,
        protected: tuple[str, ...] = (),
        hidden: tuple[Path, ...] = (),
        jailed: bool | None = None,
    ) -> None:
        """Create the sandbox's directory.

        Args:
            passthrough: Variables of the worker that commands see. Besides these they get only its
                ``PATH``.
            scratch: The parent directory; the system's temporary directory by default.
            protected: Globs that reject writes and deletes, relative to ``/workspace``.
            hidden: Files and directories that commands in bubblewrap do not see.
            jailed: Whether commands run in bubblewrap; None runs them in it if it works.

        Raises:
            SandboxLost: The directory cannot be created, or there is no shell.
        """
        self.workdir = protocol.WORKDIR
        self._passthrough, self._protected = dict(passthrough), protected
        self._scratch, self._hidden = scratch, hidden
        self._jailed = bubblewrap.works() if jailed is None else jailed
        self.enforced = frozenset(LimitName) if self._jailed else _ENFORCED_BARE
        self._variables: dict[str, str] = {}
        self._laid: dict[str, Stamp] = {}
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
        services: Sequence[NeededService] = (),
        probe: Probe | None = None,
        visit: Visit | None = None,
        reports: bool = False,
        on_output: OnOutput | None = None,
        stop: asyncio.Event | None = None,
    ) -> ExecResult:
        """As :meth:`.Sandbox.exec`; commands are never replayed and downloads are not kept.

        Raises:
            StepFailed: The workdir leads out of the sandbox, or the command is too long.
            SandboxLost: The command could not be started, or the sandbox was closed meanwhile.
        """
        stop = stop or asyncio.Event()
        async with self._operation("exec"), running(services, limits) as beside:
            variables = service_variables(beside.addresses, self._variables)
            if probe is not None and "PORT" not in self._variables:
                probe = replace(probe, port=free_port())  # all local commands share the ports
                variables["PORT"] = str(probe.port)
            if probe is not None and probe.page_port:
                probe = replace(probe, page_port=free_port())
                variables["PAGE_PORT"] = str(probe.page_port)
            cwd = self._files.make_directory("exec", self.workdir)
            started_ns = file_time(self._directory)
            run_here = partial(
                run,
                cwd=cwd,
                env=self._environment() | variables,
                output_bytes=output_bytes,
                limits=limits,
                on_output=on_output,
                stops=(self._stop, stop, beside.exceeded),
                jail=self._jail if self._jailed else None,
                visit=visit,
            )

            async def serve(command: str, timeout_s: float, probe: Probe | None) -> ExecResult:
                once = partial(run_here, command, timeout_s, probe)
                return await (with_its_port(once) if probe else once())

            result = await after_setup(serve, command, timeout_s, probe)
            self._check_open("exec")
            if reports:
                workspace, own = Path(self.host_root + protocol.WORKDIR), self._directory / "tmp"
                found = await _in_thread(written_reports, workspace, own, started_ns)
                result = replace(result, reports=found)
            if beside.limit is not None and not stop.is_set():
                return replace(result, cancelled=False, limit_exceeded=beside.limit)
            well = result.good if result.serving is None else result.serving.ready_s is not None
            if beside.ended and not (well or result.cancelled):
                raise SandboxLost(beside.ended[0])
            return replace(result, services_ready=beside.ready_s)

    async def build_image(
        self, dockerfile: str, *, timeout_s: float, output_bytes: int = protocol.OUTPUT_BYTES
    ) -> ExecResult:
        """As :meth:`.Sandbox.build_image`; it always raises :class:`SandboxLost`."""
        raise SandboxLost("the local sandbox builds no images: use the dagger sandbox")

    async def write_file(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """As :meth:`.Sandbox.write_file`."""
        async with self._operation("write_file"):
            files = {resolve(self.workdir, path): as_bytes(content)}
            await _in_thread(self._files.write, "write_file", files, mode)

    async def write_files(self, files: Mapping[str, str | bytes]) -> None:
        """As :meth:`.Sandbox.write_files`."""
        async with self._operation("write_files"):
            contents = {resolve(self.workdir, path): as_bytes(data) for path, data in files.items()}
            await _in_thread(self._files.write, "write_files", contents)

    async def read_file(self, path: str) -> bytes:
        """As :meth:`.Sandbox.read_file`."""
        async with self._operation("read_file"):
            return await _in_thread(self._files.read, resolve(self.workdir, path))

    async def delete_file(self, path: str) -> None:
        """As :meth:`.Sandbox.delete_file`; a link is deleted itself."""
        async with self._operation("delete_file"):
            await _in_thread(self._files.delete, resolve(self.workdir, path))

    async def list_directory(self, path: str = ".") -> list[Entry]:
        """As :meth:`.Sandbox.list_directory`."""
        async with self._operation("list_directory"):
            return await _in_thread(self._files.entries, resolve(self.workdir, path))

    async def set_workdir(self, path: str) -> None:
        """As :meth:`.Sandbox.set_workdir`."""
        async with self._operation("set_workdir"):
            workdir = resolve(self.workdir, path)
            await _in_thread(self._files.make_directory, "set_workdir", workdir)
            self.workdir = workdir

    async def export_directory(self, path: str, host_path: Path) -> None:
        """As :meth:`.Sandbox.export_directory`."""
        async with self._operation("export_directory"):
            await _in_thread(self._files.export, resolve(self.workdir, path), host_path)

    async def export_matching(
        self, globs: tuple[str, ...], host_path: Path, *, most_bytes: int
    ) -> None:
        """As :meth:`.Sandbox.export_matching`."""
        async with self._operation("export_matching"):
            await _in_thread(self._files.export_matching, globs, host_path, most_bytes)

    async def refresh_from_host(
        self, host_path: Path, path: str = ".", *, only: tuple[str, ...] | None = None
    ) -> None:
        """As :meth:`.Sandbox.refresh_from_host`.

        Raises:
            StepFailed: Also if a path of ``only`` is missing, is a directory, or is behind a link
                that leaves ``host_path``.
        """
        async with self._operation("refresh_from_host"):
            await _in_thread(self._files.refresh, host_path, resolve(self.workdir, path), only)

    def missing_service(self, kind: ServiceKind) -> str | None:
        """As :meth:`.Sandbox.missing_service`."""
        return missing(kind)

    async def open_browser(self) -> "LocalSandbox":
        """As :meth:`.Sandbox.open_browser`; it shares the network with this one."""
        program = await asyncio.to_thread(find_browser, os.environ)
        if program is None:
            raise BrowserMissing(
                "no Chromium on this worker: install chromium, or playwright's with "
                "`playwright install chromium`"
            )
        folders = (*map(os.path.dirname, (program, sys.executable)), bubblewrap.search_path({}))
        shared = {name: value for name, value in self._passthrough.items() if name != "PATH"}
        return LocalSandbox(
            passthrough=shared | {"PATH": os.pathsep.join(folders), BROWSER: program},
            scratch=self._scratch,
            hidden=self._hidden,
            jailed=self._jailed,
        )

    async def lay_overlay(self, host_path: Path) -> None:
        """As :meth:`.Sandbox.lay_overlay`; commands run as the files' owner and can change them."""
        async with self._operation("lay_overlay"):
            self._laid = await _in_thread(lay, self._files.root, host_path)

    async def lift_overlay(self, host_path: Path) -> tuple[str, ...]:
        """As :meth:`.Sandbox.lift_overlay`."""
        async with self._operation("lift_overlay"):
            laid, self._laid = self._laid, {}
            return await _in_thread(changed, self._files.root, host_path, laid)

    async def fork(self) -> "LocalSandbox":
        """As :meth:`.Sandbox.fork`; files are copied, with shared blocks where possible.

        Raises:
            SandboxLost: The files could not be copied.
        """
        async with self._operation("fork"):
            child = LocalSandbox(
                passthrough=self._passthrough,
                scratch=self._scratch,
                protected=self._protected,
                hidden=self._hidden,
                jailed=self._jailed,
            )
            try:
                await _in_thread(clone, self._copied_directories(), child._copied_directories())
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
        """As :meth:`.Sandbox.close`; a running command is ended first.

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
                    orphan_reaper.unregister(self._directory)
                except OSError as error:
                    _log.warning("close: remove %s by hand: %s", self._directory, error)

    @asynccontextmanager
    async def _operation(self, operation: str) -> AsyncIterator[None]:
        """Run one operation at a time, each from the state that the one before left."""
        async with self._lock:
            self._check_open(operation)
            self._restore_directories(operation)
            yield

    def _restore_directories(self, operation: str) -> None:
        """Create directories that a command removed; without bubblewrap, a command can.

        Raises:
            StepFailed: A command replaced a directory by something else.
        """
        for name in OWN_DIRECTORIES:
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

    def _copied_directories(self) -> tuple[Path, Path]:
        return self._directory / "root", self._directory / "home"

    def _environment(self) -> dict[str, str]:
        home = self._directory / "home"
        path = bubblewrap.search_path(self._passthrough)
        return {
            **protocol.ENVIRONMENT,
            "HOME": str(home),
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
    directory: Path | None = None
    try:
        directory = Path(os.path.realpath(tempfile.mkdtemp(prefix="revalid-", dir=scratch)))
        for name in OWN_DIRECTORIES:
            (directory / name).mkdir(mode=0o700)
        if jailed:
            bubblewrap.make_directories(directory)
        orphan_reaper.register(directory)
    except OSError as error:
        if directory is not None:
            remove_tree(directory)
        raise SandboxLost(
            f"local sandbox: cannot be created in {scratch or tempfile.gettempdir()}: "
            f"{error.strerror or error}; make it writable, or free space and processes"
        ) from error
    return directory


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await shielded(asyncio.to_thread(work, *args, **kwargs))
