"""How the local sandbox ends its processes, and how its reaper does after a worker's death."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import psutil
import pytest

from revalid.jobs.errors import SandboxLost
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.local import orphan_reaper, process_tree, usage_monitor
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.protocol import StepFailed
from tests.contract.checks import new_token, sleeping

GIVE_UP_S = 30.0


def marked(directory: Path) -> list[str]:
    """Return the names of the processes of the sandbox in ``directory``."""
    process_names = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(process_tree.MARKER) == str(directory):
                process_names.append(process.name())
        except psutil.Error:
            continue
    return process_names


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < deadline, f"waited more than {GIVE_UP_S:g} s"
        time.sleep(0.01)


class OutputListener:
    """A listener that sets an event when the command has printed a word."""

    def __init__(self, word: bytes) -> None:
        self.data, self.word, self.event = b"", word, asyncio.Event()

    def __call__(self, _: Literal["stdout", "stderr"], data: bytes) -> None:
        self.data += data
        if self.word in self.data:
            self.event.set()


def start(sandbox: LocalSandbox, command: str, listener: OutputListener) -> asyncio.Task[object]:
    """Start a command in a task."""
    return asyncio.create_task(sandbox.exec(command, on_output=listener))


STUBBORN = "trap '' TERM; (setsid sleep 1000 &); echo armed; while :; do sleep 1000; done"


@pytest.mark.parametrize(
    ("command", "code"), [("sleep 1000", 143), ("trap '' TERM; while :; do :; done", 137)]
)
@pytest.mark.usefixtures("short_grace")
async def test_exit_code_of_a_timeout(local: LocalSandbox, command: str, code: int) -> None:
    result = await local.exec(command, timeout_s=1)
    assert (result.exit_code, result.timed_out) == (code, True)


@pytest.mark.parametrize(
    ("command", "timed_out"),
    [
        ("env -i setsid sh -c 'echo up; sleep {}; true' & wait", True),
        ("env -i sh -c 'echo up; : > up; sleep {}; true' & until [ -e up ]; do :; done", False),
    ],
)
async def test_process_without_the_marker_is_ended(
    local: LocalSandbox, command: str, timed_out: bool
) -> None:
    token = new_token()
    result = await local.exec(command.format(token), timeout_s=2)
    assert (result.stdout.head, result.timed_out) == (b"up\n", timed_out)
    assert not await sleeping(local, token)


async def test_output_is_live(local: LocalSandbox, directory: Path) -> None:
    listener = OutputListener(b"ready")
    task = start(local, "echo ready; while [ ! -e go ]; do :; done; printf '\\377 end'", listener)
    await listener.event.wait()
    assert not task.done()
    (directory / "root" / "workspace" / "go").touch()
    await task
    assert listener.data == b"ready\n\xff end"


async def test_failing_listener_ends_the_command(local: LocalSandbox, directory: Path) -> None:
    def listen(*_: object) -> None:
        raise RuntimeError("the listener broke")

    with pytest.raises(RuntimeError, match="the listener broke"):
        await local.exec("echo x; sleep 1000", on_output=listen)
    assert marked(directory) == []


@pytest.mark.usefixtures("short_grace")
async def test_cancellation_ends_the_tree_first(local: LocalSandbox, directory: Path) -> None:
    listener = OutputListener(b"armed")
    task = start(local, STUBBORN, listener)
    await listener.event.wait()
    assert "sleep" in marked(directory)
    task.cancel()
    await asyncio.wait([task], timeout=0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert marked(directory) == []


@pytest.mark.usefixtures("short_grace")
async def test_close_ends_a_running_command(
    local: LocalSandbox, directory: Path, tmp_path: Path
) -> None:
    listener = OutputListener(b"armed")
    task = start(local, STUBBORN, listener)
    await listener.event.wait()
    queued = asyncio.create_task(local.write_file("late", "x"))
    await local.close()
    with pytest.raises(SandboxLost, match="closed"):
        await task
    with pytest.raises(SandboxLost, match="closed"):
        await queued
    assert marked(directory) == []
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_command_too_long_for_the_system(local: LocalSandbox) -> None:
    with pytest.raises(StepFailed, match=r"exec .*: .*too long.*shorten"):
        await local.exec(f": {'x' * 3_000_000}")
    assert (await local.exec("true")).exit_code == 0


async def test_survivor_of_sigkill_is_reported(
    local: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(psutil.Process, "kill", lambda _: None)
        patched.setattr(process_tree, "KILL_BOUND_S", 0.1)
        with pytest.raises(SandboxLost, match="outlived SIGKILL"):
            await local.exec("sleep 1000 &")


WORKER = """
import asyncio, sys
from pathlib import Path
from revalid.worker.sandboxes.local.sandbox import LocalSandbox

async def main() -> None:
    sandbox = LocalSandbox(passthrough={}, scratch=Path(sys.argv[1]))
    closed = LocalSandbox(passthrough={}, scratch=Path(sys.argv[1]))
    await closed.close()
    await sandbox.exec(
        "(setsid sleep 1000 &); sleep 1000 & echo armed; wait",
        on_output=lambda _, data: print(data.decode(), flush=True),
    )

asyncio.run(main())
"""


def test_killed_worker_leaves_nothing(tmp_path: Path) -> None:
    scratch, project = tmp_path / "scratch", tmp_path / "project"
    scratch.mkdir()
    (project / "worker").mkdir(parents=True)
    (project / "worker" / "__init__.py").write_text("raise SystemExit('not the package meant')")
    worker = subprocess.Popen(
        [sys.executable, "-P", "-c", WORKER, str(scratch)],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "armed\n"
        (directory,) = scratch.iterdir()
        wait_until(lambda: marked(directory).count("sleep") == 2)
        worker.send_signal(signal.SIGKILL)
    wait_until(lambda: not directory.exists())
    assert marked(directory) == []


async def test_reaper_that_died_is_replaced(local: LocalSandbox, tmp_path: Path) -> None:
    def reapers() -> list[psutil.Process]:
        return [
            child
            for child in psutil.Process().children()
            if child.status() != psutil.STATUS_ZOMBIE and orphan_reaper.__name__ in child.cmdline()
        ]

    (killed,) = reapers()
    killed.kill()
    psutil.wait_procs([killed], timeout=GIVE_UP_S)
    await LocalSandbox(passthrough={}, scratch=tmp_path).close()
    (replaced,) = reapers()
    assert replaced != killed


async def test_variables_of_a_job_are_only_for_its_command(local: LocalSandbox) -> None:
    # The loader reports each program that it starts on standard error: only the shell may appear.
    local.with_envs({"LD_DEBUG": "statistics", "PATH": "/nowhere"})
    result = await local.exec("echo started")
    assert result.stdout.head == b"started\n"
    assert result.stderr.head.count(b"final number of relocations from cache") <= 1
    assert result.stderr.head.count(b"total startup time") == 1


async def test_limits_are_set_before_the_command_starts(local: LocalSandbox) -> None:
    limits = CommandLimits(disk_bytes=2**20, cpu_s=3)
    result = await local.exec("ulimit -c; ulimit -f; ulimit -S -t; trap", limits=limits)
    assert result.stdout.head == b"0\n2048\n3\n"


async def test_commands_ignore_no_signal(local: LocalSandbox) -> None:
    result = await local.exec("grep SigIgn /proc/self/status")
    assert int(result.stdout.head.split()[1], 16) & 0x7FFFFFFF == 0  # above: the C library's own


async def test_removed_directory_is_created_again(local: LocalSandbox, directory: Path) -> None:
    assert (await local.exec(f"rm -rf {directory}; exit 3")).exit_code == 3
    assert (await local.exec('ls -A . "$HOME" "$TMPDIR"')).exit_code == 0


@pytest.mark.parametrize("name", ["root", "home", "tmp"])
@pytest.mark.parametrize("replacement", ["ln -s / {}", ": >{}"])
async def test_replaced_directory_is_the_commands_fault(
    local: LocalSandbox, directory: Path, name: str, replacement: str
) -> None:
    replacement = replacement.format(directory / name)
    assert (
        await local.exec(f"mv {directory}/{name} {directory}/old; {replacement}")
    ).exit_code == 0
    for broken in (local.exec("true"), local.write_file("f", "x"), local.read_file("f")):
        with pytest.raises(StepFailed, match="earlier command replaced"):
            await broken


async def test_endless_files_do_not_delay_the_time_limit(
    local: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gave_up = asyncio.Event()

    def endless(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            yield "file", directory.stat()
        gave_up.set()

    monkeypatch.setattr(usage_monitor, "walk", endless)
    monkeypatch.setattr(usage_monitor, "_SCAN_ROUND", 4)
    result = await local.exec("sleep 60", timeout_s=1)
    assert result.timed_out
    assert not gave_up.is_set()
