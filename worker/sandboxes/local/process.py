"""Runs one command of the local sandbox within its limits and captures its output."""

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
from dataclasses import replace
from functools import partial
from pathlib import Path

from revalid.jobs.errors import SandboxLost
from revalid.jobs.job import LimitName
from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.local import bubblewrap
from revalid.worker.sandboxes.local.argument_file import argument_file
from revalid.worker.sandboxes.local.bubblewrap import FirstProcess
from revalid.worker.sandboxes.local.capture import Capture
from revalid.worker.sandboxes.local.probe import ServerProbe
from revalid.worker.sandboxes.local.process_tree import KILL_BOUND_S, MARKER, ProcessTree
from revalid.worker.sandboxes.local.usage_monitor import UsageMonitor
from revalid.worker.sandboxes.protocol import ExecResult, OnOutput, StepFailed
from revalid.worker.sandboxes.shielding import shielded
from revalid.worker.serving import Probe, Server, Visit

SHELL = "/bin/sh"
Jail = Callable[[Mapping[str, str]], Sequence[str]]
LIVE_S = 0.25

MAX_VARIABLES = 2_500  # bubblewrap takes 9,000 words
_MAX_WORD = 131_071  # the kernel's limit, with the NUL

# Arguments: 512-byte blocks of a file, then seconds of processor time or nothing.
_SET_LIMITS = """
ulimit -c 0
ulimit -f "$1"
[ -z "$2" ] || { ulimit -S -t "$2" && ulimit -H -t $(($2 + 5)); }
shift 2
exec "$@"
"""

# Python ignores two signals that commands should get.
_SET_VARIABLES = """
import os, signal, sys
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
with open(int(sys.argv[1]), "rb") as file:
    words = file.read().split(b"\\0")
os.execve(sys.argv[2], sys.argv[2:], dict(zip(words[:-1:2], words[1::2])))
"""


async def run(
    command: str,
    timeout_s: float,
    probe: Probe | None = None,
    *,
    cwd: Path,
    env: Mapping[str, str],
    output_bytes: int,
    limits: CommandLimits,
    on_output: OnOutput | None,
    stops: tuple[asyncio.Event, ...],
    jail: Jail | None = None,
    visit: Visit | None = None,
) -> ExecResult:
    """Run ``command`` and end its whole process tree, however this call itself ends.

    Only the command gets ``env``; the processes that start it do not.

    Args:
        probe: What to ask the server that the command starts; None if it starts none.
        env: The whole environment; its :data:`MARKER` value is the sandbox's directory.
        stops: Events; each one ends the command, with a shorter grace than a timeout.
        jail: Returns bubblewrap's arguments for an environment; None runs the command without it.
        visit: What is done with the server once it answered.

    Raises:
        StepFailed: The command or its environment is too large to start.
        SandboxLost: The command could not be started or ended.
    """
    process: Process | None = None
    first_process: FirstProcess | None = None
    tree = ProcessTree(env[MARKER], jailed=bool(jail))
    cpu = str(math.ceil(limits.cpu_s)) if limits.cpu_s else ""
    limiter = (SHELL, "-c", _SET_LIMITS, SHELL, str(limits.disk_bytes // 512), cpu)
    _check_variables(command, env)
    with ExitStack() as stack:
        try:
            descriptors = []
            launcher: tuple[str, ...]
            if jail is None:
                words = [word for pair in env.items() for word in pair]
                arguments = stack.enter_context(argument_file(words))
                launcher = (sys.executable, "-I", "-S", "-c", _SET_VARIABLES, str(arguments))
            else:
                arguments = stack.enter_context(argument_file(jail(env)))
                first_process = stack.enter_context(FirstProcess())
                descriptors.append(first_process.writer)
                launcher = bubblewrap.command(arguments, first_process.writer)
            descriptors.append(arguments)
            out = stack.enter_context(Capture("stdout", output_bytes, on_output))
            err = stack.enter_context(Capture("stderr", output_bytes, on_output))
        except (OSError, ValueError) as error:
            raise _not_started(command, cwd, error) from error
        started = time.monotonic()
        usage = UsageMonitor(Path(env[MARKER]), limits, tree.members, 2 * tree.jailed)
        limit, grace_s = None, protocol.CANCEL_GRACE_S
        listeners = ProcessTree(env[MARKER], jailed=bool(jail))  # another thread looks at these
        server = ServerProbe(probe, partial(listeners.members, True), started) if probe else None
        answered = asyncio.Event()
        killed = False
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    *limiter,
                    *launcher,
                    SHELL,
                    "-c",
                    command,
                    cwd=cwd,
                    env={MARKER: env[MARKER]},
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=out.writer,
                    stderr=err.writer,
                    start_new_session=True,
                    umask=0o022,
                )
            except (OSError, ValueError) as error:
                raise _not_started(command, cwd, error) from error
            tree.shell = listeners.shell = process.pid
            out.close_writer()
            err.close_writer()
            if server is not None:
                asking = asyncio.ensure_future(_use(server, visit))
                asking.add_done_callback(lambda _: answered.set())
                stack.callback(asking.cancel)
            ends = (*stops, answered)
            limit = await _watch(process, (out, err), started + timeout_s, ends, usage)
            stopped = limit is LimitName.TIME and any(stop.is_set() for stop in stops)
            if not stopped:
                grace_s = protocol.KILL_GRACE_S if limit is LimitName.TIME else 0.0
            duration_s = time.monotonic() - started
            # Its end at our request is no limit that it reached.
            settled = limit is LimitName.TIME and answered.is_set() and not stopped
            if settled:
                limit = None
        finally:
            killed = await shielded(_end(tree, grace_s, process, first_process))
        code = await shielded(process.wait())
        code = code if code >= 0 else 128 - code
        if limit is None and code and not settled:
            limit = await asyncio.to_thread(_limit_of_signal, code, limits, usage)
        return ExecResult(
            exit_code=code,
            stdout=out.finish(),
            stderr=err.finish(),
            duration_s=duration_s,
            timed_out=limit is LimitName.TIME and not stopped,
            cancelled=stopped,
            limit_exceeded=limit if limit is not LimitName.TIME else None,
            serving=replace(server.serving, ended=not settled, ignored_sigterm=settled and killed)
            if server
            else None,
        )


async def _use(server: ServerProbe, visit: Visit | None) -> None:
    await server.settle()
    serving = server.serving
    if visit is not None and serving.ready_s is not None and serving.port is not None:
        await visit(Server(serving.port, page_port=server.page_port))


async def _end(
    tree: ProcessTree, grace_s: float, process: Process | None, first_process: FirstProcess | None
) -> bool:
    """End every process of the command; in a jail, also those that were not found.

    Returns:
        Whether some did not end within ``grace_s`` seconds after SIGTERM.
    """
    killed = await tree.end(grace_s)
    if process is not None and first_process is not None:
        await process.wait()
        if not await first_process.end(KILL_BOUND_S):
            raise SandboxLost("exec: the processes of a jail outlived SIGKILL; restart this worker")
    return killed


def _check_variables(command: str, env: Mapping[str, str]) -> None:
    """Check that the kernel and bubblewrap accept the variables.

    Raises:
        StepFailed: They are too large or too many.
    """
    sizes = [len(os.fsencode(name)) + len(os.fsencode(value)) + 2 for name, value in env.items()]
    room = os.sysconf("SC_ARG_MAX") - len(os.fsencode(command)) - _MAX_WORD
    if max(sizes) > _MAX_WORD or sum(sizes) + 16 * len(sizes) > room:
        raise _not_started(command, Path(), OSError(errno.E2BIG, os.strerror(errno.E2BIG)))
    if len(sizes) > MAX_VARIABLES:
        reason = f"{len(sizes)} environment variables are more than {MAX_VARIABLES}"
        raise _not_started(command, Path(), ValueError(reason))


def _limit_of_signal(code: int, limits: CommandLimits, usage: UsageMonitor) -> LimitName | None:
    """Return the limit that a signal reports, or that the command exceeded just before its end."""
    if code == 128 + signal.SIGXCPU and limits.cpu_s:
        return LimitName.CPU
    if code == 128 + signal.SIGXFSZ and usage.filled_a_file():
        return LimitName.DISK
    return LimitName.DISK if usage.wrote_too_much() else None


def _not_started(command: str, cwd: Path, error: OSError | ValueError) -> Exception:
    label = f"exec {command.strip().splitlines()[0][:200]!r}" if command.strip() else "exec"
    if isinstance(error, ValueError) or error.errno == errno.E2BIG:
        return StepFailed(f"{label}: {error}; shorten the command or its environment variables")
    if error.filename is not None and Path(error.filename) == cwd:
        return StepFailed(f"{label}: cannot enter its workdir: {error.strerror}; set another")
    return SandboxLost(
        f"{label}: the worker could not start {SHELL}: {error}; "
        "check that it exists and that the worker may start processes and open files"
    )


async def _watch(
    process: Process,
    captures: tuple[Capture, ...],
    deadline: float,
    stops: tuple[asyncio.Event, ...],
    usage: UsageMonitor,
) -> LimitName | None:
    """Wait for the command; return the limit that ended it. A stop counts as the time limit."""
    ends = [asyncio.ensure_future(end) for end in (process.wait(), *(s.wait() for s in stops))]
    try:
        while (remaining := deadline - time.monotonic()) > 0:
            await asyncio.wait(
                ends, timeout=min(remaining, LIVE_S), return_when=asyncio.FIRST_COMPLETED
            )
            for capture in captures:
                capture.flush()
            if any(end.done() for end in ends):
                break
            look = asyncio.ensure_future(asyncio.to_thread(usage.over))
            # The command decides how many files there are to look at.
            await asyncio.wait(
                (look, *ends), timeout=remaining, return_when=asyncio.FIRST_COMPLETED
            )
            usage.stopped = not look.done()
            over = await look
            usage.stopped = False
            if over and not ends[0].done():
                return over
        return None if ends[0].done() else LimitName.TIME
    finally:
        for end in ends:
            end.cancel()
