"""Commands of the local sandbox: run one within its limits, and keep its output."""

import asyncio
import errno
import math
import signal
import subprocess
import time
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from jobs.errors import SandboxLost
from jobs.job import LimitName
from worker import sandbox
from worker.limits import CommandLimits
from worker.local_capture import Capture
from worker.local_tree import MARKER, Tree
from worker.local_usage import Usage
from worker.sandbox import ExecResult, OnOutput, StepFailed
from worker.unbroken import unbroken

SHELL = "/bin/sh"
LIVE_S = 0.25

# Blocks of 512 bytes of a file, then seconds of processor time or nothing.
_LIMITED = """
ulimit -c 0
ulimit -f "$2"
[ -z "$3" ] || { ulimit -S -t "$3" && ulimit -H -t $(($3 + 5)); }
exec "$0" -c "$1"
"""


async def run(
    command: str,
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    output_bytes: int,
    limits: CommandLimits,
    on_output: OnOutput | None,
    stops: tuple[asyncio.Event, ...],
    jail: tuple[str, ...] = (),
) -> ExecResult:
    """Run ``command`` and end its whole process tree, however this call itself ends.

    Args:
        env: The whole environment; its :data:`MARKER` value is the sandbox's directory.
        stops: Either one that is set ends the command, with less patience than its timeout.
        jail: What the command is started by, such as bubblewrap with its arguments.

    Raises:
        StepFailed: The command or its environment is too large to start.
        SandboxLost: It could not be started or ended.
    """
    process: Process | None = None
    tree = Tree(env[MARKER], jailed=bool(jail))
    cpu = str(math.ceil(limits.cpu_s)) if limits.cpu_s else ""
    limited = (SHELL, "-c", _LIMITED, SHELL, command, str(limits.disk_bytes // 512), cpu)
    with ExitStack() as stack:
        try:
            out = stack.enter_context(Capture("stdout", output_bytes, on_output))
            err = stack.enter_context(Capture("stderr", output_bytes, on_output))
        except OSError as error:
            raise _not_started(command, cwd, error) from error
        started = time.monotonic()
        usage = Usage(Path(env[MARKER]), limits, tree.members, 2 * tree.jailed)
        ended, grace_s = None, sandbox.CANCEL_GRACE_S
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    *jail,
                    *limited,
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
            tree.shell = process.pid
            out.close_writer()
            err.close_writer()
            ended = await _watch(process, (out, err), started + timeout_s, stops, usage)
            stopped = ended is LimitName.TIME and any(stop.is_set() for stop in stops)
            if not stopped:
                grace_s = sandbox.KILL_GRACE_S if ended is LimitName.TIME else 0.0
            duration_s = time.monotonic() - started
        finally:
            await unbroken(tree.end(grace_s))
        code = await unbroken(process.wait())
        code = code if code >= 0 else 128 - code
        if ended is None and code:
            ended = await asyncio.to_thread(_signalled, code, limits, usage)
        return ExecResult(
            exit_code=code,
            stdout=out.finish(),
            stderr=err.finish(),
            duration_s=duration_s,
            timed_out=ended is LimitName.TIME and not stopped,
            cancelled=stopped,
            killed_by=ended if ended is not LimitName.TIME else None,
        )


def _signalled(code: int, limits: CommandLimits, usage: Usage) -> LimitName | None:
    """The limit that the kernel's signal tells of, or that was passed just before the end."""
    if code == 128 + signal.SIGXCPU and limits.cpu_s:
        return LimitName.CPU
    if code == 128 + signal.SIGXFSZ and usage.filled_a_file():
        return LimitName.DISK
    return LimitName.DISK if usage.wrote_too_much() else None


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
    process: Process,
    captures: tuple[Capture, ...],
    deadline: float,
    stops: tuple[asyncio.Event, ...],
    usage: Usage,
) -> LimitName | None:
    """Wait for the command; the limit that it reached, which a stop counts as its time."""
    ends = [asyncio.ensure_future(end) for end in (process.wait(), *(s.wait() for s in stops))]
    try:
        while (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(ends, timeout=min(left, LIVE_S), return_when=asyncio.FIRST_COMPLETED)
            for capture in captures:
                capture.flush()
            if any(end.done() for end in ends):
                break
            if (over := await asyncio.to_thread(usage.over)) and not ends[0].done():
                return over
        return None if ends[0].done() else LimitName.TIME
    finally:
        for end in ends:
            end.cancel()
