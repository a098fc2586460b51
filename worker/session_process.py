"""The CLI's session process: it dies with the process that started it, and it is ended in time."""

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
    """To be called in the child before it runs its program."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def end(session: Process, patience_s: float) -> None:
    """End the session process: closed standard input lets it flush; then by force."""
    if session.returncode is None and patience_s:
        assert session.stdin is not None  # noqa: S101
        session.stdin.close()
        await bounded(session.wait(), patience_s)
    if session.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            session.kill()
        await bounded(session.wait(), CLOSE_TIMEOUT_S)


async def bounded(work: Awaitable[object], timeout_s: float) -> None:
    """Await ``work`` for so many seconds at the most, however it ends."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=timeout_s)
    if not task.done():
        task.cancel()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
