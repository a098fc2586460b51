"""The end of the CLI's session process, with its parent or within a bound."""

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
    """Have the kernel end this new process when the one that started it has ended."""
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
    """Await it no longer than this, whatever comes of it."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=timeout_s)
    if not task.done():
        task.cancel()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
