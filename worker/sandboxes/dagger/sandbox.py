"""The sandbox on a Dagger engine: an immutable container, replaced by each operation."""

import asyncio
import logging
import posixpath
import tempfile
import uuid
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Literal, TypeVar

import dagger

from revalid.jobs.errors import InvalidJob, RevalidError, SandboxLost
from revalid.jobs.job import LimitName
from revalid.jobs.services import ServiceKind
from revalid.jobs.settings import BROWSER_IMAGE
from revalid.worker.file_trees import remove_tree
from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.dagger import exec_wrapper
from revalid.worker.sandboxes.dagger.containers import (
    DELETE,
    LAY,
    LIFT,
    MAKE_DIRECTORY,
    MOUNT_POINTS,
    ORDINARY,
    OWN_DOWNLOADS,
    WRITE,
    Account,
    apply_change,
)
from revalid.worker.sandboxes.dagger.engine import Engine, one_line
from revalid.worker.sandboxes.dagger.exec_wrapper import (
    NONCE,
    REPORT,
    REUSABLE,
    STOP,
    engine_variable,
    parse_report,
    parse_server,
    seen_command,
    stop_command,
    wait_command,
    wrapped,
)
from revalid.worker.sandboxes.dagger.live_output import OutputRelay
from revalid.worker.sandboxes.dagger.package_caches import stop_volume, volumes
from revalid.worker.sandboxes.dagger.services import failure_of, running
from revalid.worker.sandboxes.limits import DEFAULT_LIMITS, CommandLimits
from revalid.worker.sandboxes.protocol import (
    WORKDIR,
    BrowserMissing,
    Entry,
    ExecResult,
    OnOutput,
    StepFailed,
    Stream,
    after_setup,
    resolve,
)
from revalid.worker.sandboxes.shielding import shielded
from revalid.worker.sandboxes.staging import as_bytes, file_names, included, stage
from revalid.worker.secrets import engine_name
from revalid.worker.services import NeededService, service_variables
from revalid.worker.serving import Probe, Visit

T = TypeVar("T")
Change = Callable[[dagger.Container], dagger.Container]

_log = logging.getLogger(__name__)

_OVERDUE_S = 30.0
_REPORT_S = 2.0
"""Seconds within which a wrapper is asked to stop, and seconds within which it reports."""
_REGISTRY_FAILED = (
    *("connection refused", "connection reset", "i/o timeout", "no such host", "deadline exceeded"),
    *("TLS handshake", "502 Bad", "503 Service", "504 Gateway", "500 Internal", "429 Too Many"),
)
"""Words of an engine whose pull of a base image failed through no fault of the project."""
_INLINE = 65_536
_SETTLE_EVERY = 8


@dataclass(eq=False)
class DaggerSandbox:
    """A container of one image on one engine; the protocol describes each operation.

    The start of a command's output arrives live, the rest at its end. A fork is a kept reference
    and copies nothing. The engine forgets a closed container by itself.
    """

    kind: Literal["dagger", "local"] = field(default="dagger", init=False)
    host_root = ""
    enforced = frozenset(LimitName)
    forks_freely = True
    builds_images = True

    _engine: Engine
    _client: dagger.Client
    _container: dagger.Container
    image: str
    _account: Account
    _protected: tuple[str, ...]
    _scratch_root: Path | None
    _downloads: Mapping[str, dagger.CacheVolume]
    _stops: dagger.CacheVolume
    _browser_image: str
    workdir: str = WORKDIR
    _pending: list[Change] = field(default_factory=list)  # variables of the next command
    _given: set[str] = field(default_factory=set)  # names of variables that were set
    _unsettled: int = 0  # commands since the last sync; each query repeats them

    def __post_init__(self) -> None:
        self._lock = asyncio.Lock()
        self._scratch = Path(tempfile.mkdtemp(prefix="revalid-dagger-", dir=self._scratch_root))

    @classmethod
    async def open(
        cls,
        engine: Engine,
        image: str,
        *,
        account: Account = ORDINARY,
        protected: tuple[str, ...] = (),
        scratch: Path | None = None,
        tenant: str = "default",
        browser_image: str = BROWSER_IMAGE,
    ) -> "DaggerSandbox":
        """Open a fresh container of ``image``.

        Args:
            account: The user that owns the files and runs the commands.
            protected: Globs that reject writes and deletes, relative to ``/workspace``.
            scratch: Directory for files in transfer; the system's temporary directory by default.
            tenant: The tenant, whose installs share their downloads.
            browser_image: The image with Chromium and Python in which :meth:`open_browser` opens.

        Raises:
            EngineUnavailable: No engine answers.
            InvalidJob: The registry does not know the image.
            SandboxLost: The registry or the engine failed.
        """
        container, client = await engine.base(image, account), await engine.client()
        pinned = await engine.pin(image)
        names = volumes(tenant, pinned, account.owner, MOUNT_POINTS)
        downloads = {path: client.cache_volume(name) for path, name in names.items()}
        stops = client.cache_volume(stop_volume(tenant))
        return cls(
            engine,
            client,
            container,
            image,
            account,
            protected,
            scratch,
            downloads,
            stops,
            browser_image,
        )

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
        run_here = partial(
            self._exec,
            output_bytes=output_bytes,
            limits=limits,
            cacheable=cacheable,
            downloads=downloads,
            visit=visit,
            reports=reports,
            on_output=on_output,
            stop=stop,
        )
        if not services:
            return await after_setup(run_here, command, timeout_s, probe)
        async with running(self._engine, services) as bound:
            addresses = {b.service: (b.service.name, b.service.facts.port) for b in bound}
            variables = service_variables(addresses, self._given)
            beside = [
                *(partial(_with_variable, name, value) for name, value in variables.items()),
                *(
                    partial(_with_service, host, each.server)
                    for each in bound
                    for host in (each.service.name, *each.service.hosts)
                ),
            ]
            try:
                run = partial(run_here, beside=beside)
                result = await after_setup(run, command, timeout_s, probe)
            except _EngineRefused as refused:
                failure = await failure_of(self._engine, services, refused.error)
                raise failure or refused from None
            return replace(result, services_ready={b.service.name: b.ready_s for b in bound})

    async def _exec(
        self,
        command: str,
        timeout_s: float,
        probe: Probe | None,
        *,
        output_bytes: int,
        limits: CommandLimits,
        cacheable: bool,
        downloads: bool,
        visit: Visit | None,
        reports: bool,
        on_output: OnOutput | None,
        stop: asyncio.Event | None,
        beside: Sequence[Change] = (),
    ) -> ExecResult:
        """Run a command; the changes ``beside`` are there for it alone."""
        overdue = timeout_s + protocol.KILL_GRACE_S + _OVERDUE_S
        relay = OutputRelay(on_output, output_bytes)
        started = monotonic()
        async with self._lock:
            while self._pending:
                self._container = self._pending.pop(0)(self._container)
            container = self._container
            for change in beside:
                container = change(container)
            parameters = (command, self._account.owner, timeout_s, output_bytes, limits)
            args = partial(
                wrapped, *parameters, probe=probe, reports=reports, visited=visit is not None
            )
            volumes = self._downloads if downloads else {}
            run = partial(self._run, container, args, volumes, relay, probe, visit, stop)
            try:
                async with asyncio.timeout(overdue):
                    result, after = await run(cacheable)
                    if result.cached and not result.good:  # a failure is never replayed
                        result, after = await run(False)
            except _ContainerStopped:
                return exec_wrapper.stopped_result(relay.streams, monotonic() - started)
            except TimeoutError:
                return exec_wrapper.overdue_result()
            except dagger.ExecError as error:
                return exec_wrapper.killed_result(error.exit_code)
            except dagger.QueryError as error:
                raise _EngineRefused(self.image, error) from None
            self._container = self._container.with_rootfs(after.rootfs()) if beside else after
            self._unsettled += 1
            if beside or self._unsettled >= _SETTLE_EVERY:  # services end with their command
                self._container = await self._engine.call(self._container.sync())
                self._unsettled = 0
        relay.finish(result)
        # A command can request its own stop: without a request of ours, that is its failure.
        stop_requested = stop is not None and stop.is_set()
        return replace(result, cancelled=result.cancelled and stop_requested)

    async def _run(
        self,
        container: dagger.Container,
        args: Callable[[str, int], list[str]],
        downloads: Mapping[str, dagger.CacheVolume],
        relay: OutputRelay,
        probe: Probe | None,
        visit: Visit | None,
        stop: asyncio.Event | None,
        cacheable: bool,
    ) -> tuple[ExecResult, dagger.Container]:
        with self._engine.live.subscribe(relay) as (nonce, live_bytes):
            # With the nonce as an argument, the engine runs the command. A volatile variable is no
            # part of the cache key: a replay then reports the nonce of an earlier run. Two forks of
            # one container would share the variable.
            ready, key = container.with_mounted_cache(STOP, self._stops), nonce
            if cacheable:
                ready, key = ready.with_volatile_variable(NONCE, nonce), REUSABLE
            for path, volume in downloads.items():
                ready = ready.with_mounted_cache(path, volume, owner=self._account.owner)
            variables = OWN_DOWNLOADS if downloads else {}
            for name, path in variables.items():
                ready = ready.with_env_variable(name, path)
            # The wrapper is process 1, which no other process in the container can end.
            after = ready.with_exec(args(key, live_bytes), no_init=True)
            visiting = asyncio.ensure_future(self._visit(visit, probe, nonce))
            try:
                report = await self._await_report(stop, nonce, after.file(REPORT).contents())
            except dagger.QueryError as error:
                if f"{REPORT}: no such file" not in str(error):
                    raise
                report = ""
            finally:
                visiting.cancel()
                await shielded(asyncio.wait({visiting}))
        for path in (STOP, *downloads):
            after = after.without_mount(path)
        for name in variables:
            after = after.without_env_variable(name)
        return parse_report(report, nonce, probe), after

    async def _await_report(
        self, stop: asyncio.Event | None, nonce: str, report: Awaitable[str]
    ) -> str:
        """Await a run's report; once ``stop`` is set, ask the wrapper to end the command.

        Raises:
            _ContainerStopped: The command did not end within a bound.
        """
        stopping_wrapper = asyncio.ensure_future(self._request_stop(stop or asyncio.Event(), nonce))
        running = asyncio.ensure_future(self._engine.call(report))
        try:
            await asyncio.wait({running, stopping_wrapper}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await asyncio.wait({running}, timeout=protocol.CANCEL_GRACE_S + _REPORT_S)
            if not running.done():
                raise _ContainerStopped
            return await running
        finally:
            for task in (stopping_wrapper, running):
                if not task.done():
                    task.cancel()
            await asyncio.wait({stopping_wrapper, running})

    async def _visit(self, visit: Visit | None, probe: Probe | None, nonce: str) -> None:
        """Wait for the server of a run, let it be visited, and tell the wrapper."""
        if visit is None or probe is None:
            return
        try:
            line = await self._beside(wait_command(nonce))
            await visit(replace(parse_server(line), page_port=probe.page_port))
        except (dagger.QueryError, RevalidError, ValueError) as error:
            _log.warning("a started server could not be visited: %s", error)
        with suppress(dagger.QueryError, RevalidError):
            await self._beside(seen_command(nonce))

    async def _beside(self, command: list[str]) -> str:
        """Run a command of ours in another container with the directory :data:`STOP`."""
        base = (await self._engine.base(self.image, self._account)).with_mounted_cache(
            STOP, self._stops
        )
        return await self._engine.call(base.with_exec(command, no_init=True).stdout())

    async def _request_stop(self, stop: asyncio.Event, nonce: str) -> None:
        await stop.wait()
        with suppress(dagger.QueryError, RevalidError, TimeoutError):
            async with asyncio.timeout(_REPORT_S):
                await self._beside(stop_command(nonce))

    async def build_image(
        self, dockerfile: str, *, timeout_s: float, output_bytes: int = protocol.OUTPUT_BYTES
    ) -> ExecResult:
        started = monotonic()
        async with self._lock:
            built = self._container.directory(WORKDIR).docker_build(dockerfile=dockerfile)
        code, out, err, timed_out = 0, "", "", False
        try:
            async with asyncio.timeout(timeout_s):
                await self._engine.call(built.sync())
        except TimeoutError:
            code, timed_out = 124, True
        except dagger.ExecError as error:
            code, out, err = error.exit_code, error.stdout, error.stderr
        except dagger.QueryError as error:
            if any(sign in str(error) for sign in _REGISTRY_FAILED):
                words = f"the image of {dockerfile}: {one_line(error)}; try again"
                raise SandboxLost(words) from None
            code, err = 1, str(error)
        stdout, stderr = (_cut(text.encode(), output_bytes) for text in (out, err))
        return ExecResult(code, stdout, stderr, monotonic() - started, timed_out=timed_out)

    async def write_file(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        target = self._writable("write_file", path)
        if not isinstance(content, str) or len(content) > _INLINE:
            await self._upload("write_file", {target: as_bytes(content)}, mode)
            return
        parent, name = posixpath.split(target)
        file = self._client.directory().with_new_file(name, content, permissions=mode)
        await self._change("write_file", path, WRITE, parent, file)

    async def write_files(self, files: Mapping[str, str | bytes]) -> None:
        targets = {self._writable("write_files", name): as_bytes(files[name]) for name in files}
        await self._upload("write_files", targets, 0o644)

    async def read_file(self, path: str) -> bytes:
        target = resolve(self.workdir, path)
        copy = self._scratch / uuid.uuid4().hex
        async with self._lock:
            file = self._container.file(target)
            status = file.stat()
            kind = await self._query("read_file", path, status.file_type())
            if kind is not dagger.FileType.REGULAR:  # the engine would wait for a pipe's writer
                raise StepFailed(f"read_file {path}: is not a regular file; read another")
            protocol.check_readable(path, await self._query("read_file", path, status.size()))
            await self._query("read_file", path, file.export(str(copy)))
        try:
            return await to_thread(copy.read_bytes)
        finally:
            copy.unlink(missing_ok=True)

    async def delete_file(self, path: str) -> None:
        target = self._writable("delete_file", path)
        await self._change("delete_file", path, DELETE, target)

    async def list_directory(self, path: str = ".") -> list[Entry]:
        target = resolve(self.workdir, path)
        async with self._lock:
            directory = self._container.directory(target)
            names = await self._query("list_directory", path, directory.entries())
        protocol.check_listable(path, sum(map(len, names)) + len(names))
        entries = [Entry(name.rstrip("/"), name.endswith("/")) for name in names]
        return sorted(entries, key=lambda entry: entry.name)

    async def set_workdir(self, path: str) -> None:
        target = resolve(self.workdir, path)
        await self._change("set_workdir", path, MAKE_DIRECTORY, target, workdir=target)

    async def export_directory(self, path: str, host_path: Path) -> None:
        target = resolve(self.workdir, path)
        async with self._lock:
            directory = self._container.directory(target)
            await self._query("export_directory", path, directory.export(str(host_path)))

    async def export_matching(
        self, globs: tuple[str, ...], host_path: Path, *, most_bytes: int
    ) -> None:
        async with self._lock:
            directory = self._container.directory(WORKDIR).filter(include=list(globs))
            await self._query("export_matching", WORKDIR, directory.export(str(host_path)))

    async def refresh_from_host(
        self, host_path: Path, path: str = ".", *, only: tuple[str, ...] | None = None
    ) -> None:
        target = resolve(self.workdir, path)
        include = await to_thread(included, host_path, only)
        if include == []:
            return
        source = self._client.host().directory(str(host_path), include=include, no_cache=True)
        await self._change("refresh_from_host", path, WRITE, target, source)

    async def lay_overlay(self, host_path: Path) -> None:
        source = self._client.host().directory(str(host_path), no_cache=True)
        await self._change("lay_overlay", WORKDIR, LAY, WORKDIR, source)

    async def lift_overlay(self, host_path: Path) -> tuple[str, ...]:
        source = self._client.host().directory(str(host_path), no_cache=True)
        unchanged = await self._change("lift_overlay", WORKDIR, LIFT, WORKDIR, source)
        kept = set(unchanged.splitlines())
        return tuple(name for name in await to_thread(file_names, host_path) if name not in kept)

    async def fork(self) -> "DaggerSandbox":
        async with self._lock:
            return replace(self, _pending=list(self._pending), _given=set(self._given))

    async def open_browser(self) -> "DaggerSandbox":
        """As :meth:`.Sandbox.open_browser`."""
        try:
            opened = await DaggerSandbox.open(
                self._engine, self._browser_image, scratch=self._scratch_root
            )
        except InvalidJob as error:
            raise BrowserMissing(f"{error}: set REVALID_BROWSER_IMAGE") from None
        opened._stops = self._stops
        return opened

    def missing_service(self, kind: ServiceKind) -> str | None:
        return None

    def with_env(self, name: str, value: str) -> None:
        self._given.add(name)
        self._pending.append(partial(_with_variable, name, value))

    def with_envs(self, variables: Mapping[str, str]) -> None:
        for name, value in variables.items():
            self.with_env(name, value)

    def with_secret(self, name: str, value: str) -> None:
        self._given.add(name)
        secret = self._client.set_secret(engine_name(name, value, self._engine.name_key), value)
        inner = engine_variable(name)
        self._pending.append(lambda c: c.with_secret_variable(inner, secret))

    async def close(self) -> None:
        with suppress(OSError):
            await to_thread(remove_tree, self._scratch)

    def _writable(self, operation: str, path: str) -> str:
        target = resolve(self.workdir, path)
        protocol.check_unprotected(operation, target, self._protected, WORKDIR)
        return target

    async def _upload(self, operation: str, targets: Mapping[str, bytes], mode: int) -> None:
        root = posixpath.commonpath([posixpath.dirname(target) for target in targets])
        staged = self._scratch / uuid.uuid4().hex
        try:
            await to_thread(stage, staged, root, targets, mode)
            source = self._client.host().directory(str(staged), no_cache=True)
            await self._change(operation, ", ".join(targets), WRITE, root, source)
        except (FileExistsError, NotADirectoryError) as error:
            raise StepFailed(
                f"{operation}: {error.filename} would be both a file and a directory"
            ) from None
        finally:
            with suppress(OSError):
                await to_thread(remove_tree, staged)

    async def _change(
        self,
        operation: str,
        path: str,
        change: str,
        target: str,
        files: dagger.Directory | None = None,
        workdir: str | None = None,
    ) -> str:
        """Change files as :func:`apply_change`; return what an overlay's change printed."""
        async with self._lock:
            after = apply_change(self._container, self._account, change, target, files)
            synced = await self._query(operation, path, after.sync())
            printed = ""
            if change == LIFT:
                printed = await self._query(operation, path, synced.stdout())
            self.workdir = workdir or self.workdir
            self._container, self._unsettled = synced.with_workdir(self.workdir), 0
            return printed

    async def _query(self, operation: str, path: str, work: Awaitable[T]) -> T:
        try:
            return await self._engine.call(work)
        except dagger.ExecError as error:
            raise StepFailed(f"{operation} {path}: {error.stderr[:300]} ({self.image})") from None
        except dagger.QueryError as error:
            raise StepFailed(f"{operation} {path}: {one_line(error)} ({self.image})") from None


def _cut(data: bytes, most: int) -> Stream:
    if len(data) <= most:
        return Stream(data, b"", len(data))
    return Stream(data[: most // 2], data[-(most // 2) :], len(data))


class _EngineRefused(SandboxLost):
    """The engine could not run a command.

    Attributes:
        error: What it said.
    """

    def __init__(self, image: str, error: dagger.QueryError) -> None:
        super().__init__(f"exec in {image}: {one_line(error)}; try again")
        self.error = error


class _ContainerStopped(Exception):
    """The command did not stop when asked to, so its container was stopped."""


def _with_variable(name: str, value: str, container: dagger.Container) -> dagger.Container:
    return container.with_env_variable(engine_variable(name), value)


def _with_service(
    alias: str, server: dagger.Service, container: dagger.Container
) -> dagger.Container:
    return container.with_service_binding(alias, server)
