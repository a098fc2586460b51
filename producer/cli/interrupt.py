"""Ctrl-C, SIGTERM and SIGHUP: none is lost, and none leaves a lock or a worker behind.

The first one interrupts. At another the process ends at once, and what it started ends by itself.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_interrupted = _deferred = False


def listen() -> None:
    """Have signals raise ``KeyboardInterrupt`` from now on; what is ignored stays ignored."""
    _handle(_ask)


def leave_with(status: int) -> None:
    """Have signals end the process with its status from now on: it is about to end."""
    _handle(lambda *_: os._exit(status))


@contextmanager
def deferred() -> Iterator[None]:
    """Only note a signal while inside, where :func:`check` is called again and again.

    An exception that comes anywhere may leave a lock taken for which another thread waits for ever,
    or a process that nobody knows of.
    """
    global _deferred
    check()
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def check() -> None:
    """Raise ``KeyboardInterrupt`` where a signal has come, also where a destructor swallowed it."""
    if _interrupted:
        raise KeyboardInterrupt


def _ask(_number: int, _frame: FrameType | None) -> None:
    global _interrupted
    if _interrupted:
        os._exit(STATUS)
    _interrupted = True
    if not _deferred:
        raise KeyboardInterrupt


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
