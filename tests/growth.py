"""Compares the time of work on one size and on twice that size; there is no time limit."""

from collections.abc import Callable
from time import thread_time

_WORTH_A_LOOK_S = 0.002
"""Below this time, even the longest accepted text costs little, whatever the growth."""
LINEAR = 3.0
"""Largest accepted factor for twice the text; quadratic work has a factor of four."""


def outgrows(work: Callable[[int], Callable[[], object]], start: int, most: int) -> bool:
    """Return whether work takes more than linear time in its size.

    Args:
        work: Prepares the work of a size.
        start: The first size.
        most: The largest size that is tried.
    """
    size, steep = start, 0
    before = cost(work(size))
    while size < most:
        size *= 2
        now = cost(work(size))
        if now < _WORTH_A_LOOK_S:
            steep = 0
        else:
            steep = steep + 1 if now > LINEAR * before else 0
            if steep == 2:
                return True
        before = now
    return False


def cost(run: Callable[[], object], tries: int = 3) -> float:
    """Return the processor seconds of the fastest of a few runs, in this thread."""
    return min(_once(run) for _ in range(tries))


def _once(run: Callable[[], object]) -> float:
    started = thread_time()
    run()
    return thread_time() - started
