"""Commands of the local sandbox: run one, keep its output, end every process that it left."""

import asyncio
import errno
import os
import subprocess
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, Self, TypeVar

import psutil

from jobs.errors import SandboxLost
from worker import sandbox
from worker.sandbox import ExecResult, OnOutput, StepFailed, Stream

SHELL = "/bin/sh"
MARKER = "_SANDBOX_OF_REVALID"
LIVE_S = 0.25
KILL_BOUND_S = 10.0
_POLL_S = 0.02
_CHUNK = 65_536
_DRAIN_READS = 64

T = TypeVar("T")


async def unbroken(work: Awaitable[T]) -> T:
    """Await ``work`` to its end even when the caller is cancelled; the cancellation comes after."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        if not task.cancelled():
            task.exception()
        raise interrupted
    return task.result()


class Capture:
    """One stream of a command: a pipe, of which the head, the tail and the size are kept.

    A pipe and not a file: ``echo x >/dev/stderr`` would truncate a file, and a command that prints
    without end would fill the disk.
    """

    def __init__(
        self, name: Literal["stdout", "stderr"], limit: int, on_output: OnOutput | None
    ) -> None:
        self._name, self._limit, self._on_output = name, limit, on_output
        self._head, self._tail, self._live = bytearray(), bytearray(), bytearray()
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self._reader, self.writer = os.pipe()

    def __enter__(self) -> Self:
        os.set_blocking(self._reader, False)
        self._loop.add_reader(self._reader, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        self.close_writer()

    def close_writer(self) -> None:
        """Leave the write end to the command."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def _read(self) -> bool:
        try:
            chunk = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(self._reader)
            return False
        if self._on_output is not None and self._size < self._limit:
            self._live += chunk[: self._limit - self._size]
        self._size += len(chunk)
        room = self._limit // 2 - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        if len(self._tail) > 2 * self._limit:
            self._cut_tail()
        return True

    def _cut_tail(self) -> None:
        del self._tail[: max(0, len(self._tail) - (self._limit - self._limit // 2))]

    def flush(self) -> None:
        """Hand what came since the last call to the listener."""
        if self._live and self._on_output is not None:
            fresh, self._live = bytes(self._live), bytearray()
            self._on_output(self._name, fresh)

    def finish(self) -> Stream:
        """What was kept, once no process of the command is left to write."""
        for _ in range(_DRAIN_READS):
            if not self._read():
                break
        self.flush()
        if self._size <= self._limit:
            return Stream(bytes(self._head + self._tail), b"", self._size)
        self._cut_tail()
        return Stream(bytes(self._head), bytes(self._tail), self._size)


async def run(
    command: str,
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    output_bytes: int,
    on_output: OnOutput | None,
    stop: asyncio.Event,
) -> ExecResult:
    """Run ``command`` and end its whole process tree, however this call itself ends.

    Args:
        env: The whole environment; its :data:`MARKER` value is the sandbox's own.
        stop: Ends the command as its timeout does.

    Raises:
        StepFailed: The command or its environment is too large to start.
        SandboxLost: It could not be started or ended.
    """
    process: Process | None = None
    with ExitStack() as stack:
        try:
            out = stack.enter_context(Capture("stdout", output_bytes, on_output))
            err = stack.enter_context(Capture("stderr", output_bytes, on_output))
        except OSError as error:
            raise _not_started(command, cwd, error) from error
        started = time.monotonic()
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(SHELL, "-c", command),
                    cwd=cwd,
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=out.writer,
                    stderr=err.writer,
                    start_new_session=True,
                    umask=0o022,
                )
            except (OSError, ValueError) as error:
                raise _not_started(command, cwd, error) from error
            out.close_writer()
            err.close_writer()
            timed_out = not await _watch(process, (out, err), started + timeout_s, stop)
            duration_s = time.monotonic() - started
        finally:
            running = process is None or process.returncode is None
            grace_s = sandbox.KILL_GRACE_S if running else 0.0
            shell = process.pid if process is not None else None
            await unbroken(end_tree(env[MARKER], shell, grace_s))
        code = await unbroken(process.wait())
        return ExecResult(
            exit_code=code if code >= 0 else 128 - code,
            stdout=out.finish(),
            stderr=err.finish(),
            duration_s=duration_s,
            timed_out=timed_out,
        )


def _not_started(command: str, cwd: Path, error: OSError | ValueError) -> Exception:
    shown = f"exec {command.strip().splitlines()[0][:200]!r}" if command.strip() else "exec"
    if isinstance(error, ValueError) or error.errno == errno.E2BIG:
        return StepFailed(f"{shown}: {error}; shorten the command or its environment variables")
    if error.filename is not None and Path(error.filename) == cwd:
        return StepFailed(f"{shown}: its workdir cannot be entered: {error.strerror}; set another")
    return SandboxLost(
        f"{shown}: the worker could not start {SHELL}: {error}; "
        "check that it exists and that processes and files are left to open"
    )


async def _watch(
    process: Process, captures: tuple[Capture, ...], deadline: float, stop: asyncio.Event
) -> bool:
    """Wait for the command; whether it ended before the deadline and the stop."""
    ends = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(stop.wait())]
    try:
        while not any(end.done() for end in ends) and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(ends, timeout=min(left, LIVE_S), return_when=asyncio.FIRST_COMPLETED)
            for capture in captures:
                capture.flush()
        return ends[0].done()
    finally:
        for end in ends:
            end.cancel()


async def end_tree(marker: str, shell: int | None = None, grace_s: float = 0.0) -> None:
    """End every process of a sandbox: SIGTERM for ``grace_s`` seconds, then SIGKILL.

    Found are processes that carry the marker, wherever they moved, and those of the shell's
    session and descent.

    Raises:
        SandboxLost: Some were still there :data:`KILL_BOUND_S` seconds after the first SIGKILL.
    """
    descent: set[psutil.Process] = set()
    if shell is not None and grace_s > 0:
        descent = await asyncio.to_thread(_descent, shell)
    told: set[psutil.Process] = set()
    forced = time.monotonic() + grace_s
    doubts = 0
    while True:
        found, doubtful = await asyncio.to_thread(_survivors, marker, shell, descent)
        doubts += doubtful
        if not found and (not doubtful or doubts > 5):
            return
        now = time.monotonic()
        if now > forced + KILL_BOUND_S:
            raise SandboxLost(
                f"exec: processes {sorted(each.pid for each in found)} outlived SIGKILL; "
                "end them by hand, or restart this worker"
            )
        for each in found if now >= forced else found - told:
            with suppress(psutil.Error):
                each.kill() if now >= forced else each.terminate()
        told |= found
        await asyncio.sleep(_POLL_S)


def _descent(shell: int) -> set[psutil.Process]:
    try:
        parent = psutil.Process(shell)
        return {parent, *parent.children(recursive=True)}
    except psutil.Error:
        return set()


def _survivors(
    marker: str, shell: int | None, descent: set[psutil.Process]
) -> tuple[set[psutil.Process], bool]:
    """The living processes of a sandbox, and whether one more may be hidden in mid-``execve``."""
    found = {each for each in descent if _alive(each)}
    doubtful = False
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            if shell is not None and os.getsid(pid) == shell:
                ours = _alive(process)
            else:
                environ = process.environ()
                ours = environ.get(MARKER) == marker
                # A process shows no environment for a moment while it executes its program.
                doubtful |= not environ and _newborn(process)
        except (psutil.Error, OSError):
            continue
        if ours:
            found.add(process)
    return found, doubtful


def _newborn(process: psutil.Process) -> bool:
    # A kernel thread has no program; creation times are whole seconds off at worst.
    return bool(process.exe()) and time.time() - process.create_time() < 2 and _alive(process)


def _alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
