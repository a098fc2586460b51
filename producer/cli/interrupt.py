"""Handles Ctrl-C, SIGTERM and SIGHUP, so that none is lost or leaves a lock or a worker behind.

The first signal interrupts the command. A second one ends the process at once; its child processes
then end by themselves.
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
    """Make signals raise ``KeyboardInterrupt`` from now on; ignored signals stay ignored."""
    _handle(_interrupt)


def leave_with(status: int) -> None:
    """Make signals end the process with this status from now on."""
    _handle(lambda *_: os._exit(status))


@contextmanager
def deferred() -> Iterator[None]:
    """Defer signals to the next call of :func:`check`, inside the block.

    An exception at an arbitrary place could leave a lock taken or a process unknown.
    """
    global _deferred
    check()
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def check() -> None:
    """Raise ``KeyboardInterrupt`` for a signal, even if a destructor swallowed the first one."""
    if _interrupted:
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
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
