"""Commands of the local sandbox: run one within its limits, and keep its output."""

import asyncio
import errno
import math
import os
import signal
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from revalid.jobs.errors import SandboxLost
from revalid.jobs.job import LimitName
from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.local import bubblewrap
from revalid.worker.sandboxes.local.bubblewrap import FirstProcess
from revalid.worker.sandboxes.local.capture import Capture
from revalid.worker.sandboxes.local.handover import handed_over
from revalid.worker.sandboxes.local.process_tree import KILL_BOUND_S, MARKER, ProcessTree
from revalid.worker.sandboxes.local.usage_monitor import UsageMonitor
from revalid.worker.sandboxes.protocol import ExecResult, OnOutput, StepFailed
from revalid.worker.sandboxes.shielding import shielded

SHELL = "/bin/sh"
Jail = Callable[[Mapping[str, str]], Sequence[str]]
LIVE_S = 0.25

MOST_VARIABLES = 2_500  # bubblewrap takes 9,000 words
_LONGEST_WORD = 131_071  # the kernel's bound, with the NUL

# Blocks of 512 bytes of a file, then seconds of processor time or nothing.
_LIMITED = """
ulimit -c 0
ulimit -f "$1"
[ -z "$2" ] || { ulimit -S -t "$2" && ulimit -H -t $(($2 + 5)); }
shift 2
exec "$@"
"""

# Python ignores two signals that commands shall not.
_WITH_VARIABLES = """
import os, signal, sys
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
with open(int(sys.argv[1]), "rb") as file:
    words = file.read().split(b"\\0")
os.execve(sys.argv[2], sys.argv[2:], dict(zip(words[:-1:2], words[1::2])))
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
    jail: Jail | None = None,
) -> ExecResult:
    """Run ``command`` and end its whole process tree, however this call itself ends.

    The command alone gets ``env``: what is started before it has nothing of it.

    Args:
        env: The whole environment; its :data:`MARKER` value is the sandbox's directory.
        stops: Either one that is set ends the command, with less patience than its timeout.
        jail: What bubblewrap is to read, for an environment; None runs the command without it.

    Raises:
        StepFailed: The command or its environment is too large to start.
        SandboxLost: It could not be started or ended.
    """
    process: Process | None = None
    first: FirstProcess | None = None
    tree = ProcessTree(env[MARKER], jailed=bool(jail))
    cpu = str(math.ceil(limits.cpu_s)) if limits.cpu_s else ""
    limited = (SHELL, "-c", _LIMITED, SHELL, str(limits.disk_bytes // 512), cpu)
    _check_variables(command, env)
    with ExitStack() as stack:
        try:
            passed = []
            through: tuple[str, ...]
            if jail is None:
                words = [word for pair in env.items() for word in pair]
                given = stack.enter_context(handed_over(words))
                through = (sys.executable, "-I", "-S", "-c", _WITH_VARIABLES, str(given))
            else:
                given = stack.enter_context(handed_over(jail(env)))
                first = stack.enter_context(FirstProcess())
                passed.append(first.writer)
                through = bubblewrap.command(given, first.writer)
            passed.append(given)
            out = stack.enter_context(Capture("stdout", output_bytes, on_output))
            err = stack.enter_context(Capture("stderr", output_bytes, on_output))
        except (OSError, ValueError) as error:
            raise _not_started(command, cwd, error) from error
        started = time.monotonic()
        usage = UsageMonitor(Path(env[MARKER]), limits, tree.members, 2 * tree.jailed)
        ended, grace_s = None, protocol.CANCEL_GRACE_S
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    *limited,
                    *through,
                    SHELL,
                    "-c",
                    command,
                    cwd=cwd,
                    env={MARKER: env[MARKER]},
                    pass_fds=passed,
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
                grace_s = protocol.KILL_GRACE_S if ended is LimitName.TIME else 0.0
            duration_s = time.monotonic() - started
        finally:
            await shielded(_end(tree, grace_s, process, first))
        code = await shielded(process.wait())
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
            limit_exceeded=ended if ended is not LimitName.TIME else None,
        )


async def _end(
    tree: ProcessTree, grace_s: float, process: Process | None, first: FirstProcess | None
) -> None:
    """End every process of the command; of a jail also those that nobody saw."""
    await tree.end(grace_s)
    if process is not None and first is not None:
        await process.wait()
        if not await first.ended(KILL_BOUND_S):
            raise SandboxLost("exec: the processes of a jail outlived SIGKILL; restart this worker")


def _check_variables(command: str, env: Mapping[str, str]) -> None:
    """Raise :class:`StepFailed` where the kernel would not take them, or bubblewrap."""
    sizes = [len(os.fsencode(name)) + len(os.fsencode(value)) + 2 for name, value in env.items()]
    room = os.sysconf("SC_ARG_MAX") - len(os.fsencode(command)) - _LONGEST_WORD
    if max(sizes) > _LONGEST_WORD or sum(sizes) + 16 * len(sizes) > room:
        raise _not_started(command, Path(), OSError(errno.E2BIG, os.strerror(errno.E2BIG)))
    if len(sizes) > MOST_VARIABLES:
        shown = f"{len(sizes)} environment variables, and {MOST_VARIABLES} are the most"
        raise _not_started(command, Path(), ValueError(shown))


def _signalled(code: int, limits: CommandLimits, usage: UsageMonitor) -> LimitName | None:
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
    usage: UsageMonitor,
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
