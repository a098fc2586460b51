"""Ends the CLI's session process: with its parent, or within a time limit."""

import asyncio
import contextlib
import ctypes
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable

CLOSE_TIMEOUT_S = 5.0
_PR_SET_PDEATHSIG = 1


def _load_prctl() -> Callable[..., int] | None:
    return ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


_prctl = _load_prctl()  # loaded before any fork


def die_with_parent() -> None:
    """Make the kernel kill this process when its parent process ends."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def end_session(session: Process, grace_s: float) -> None:
    """End the session process: close its standard input so that it flushes, then kill it."""
    if session.returncode is None and grace_s:
        assert session.stdin is not None  # noqa: S101
        session.stdin.close()
        await bounded(session.wait(), grace_s)
    if session.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            session.kill()
        await bounded(session.wait(), CLOSE_TIMEOUT_S)


async def bounded(work: Awaitable[object], timeout_s: float) -> None:
    """Await ``work`` for at most ``timeout_s`` seconds; ignore its result and errors."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=timeout_s)
    if not task.done():
        task.cancel()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
