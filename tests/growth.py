"""How much longer work takes on twice as much: no time limit, only what one run says of another."""

from collections.abc import Callable
from time import thread_time

_WORTH_A_LOOK_S = 0.002
"""Below this a text as long as the bound costs nothing to speak of, whatever its growth."""
LINEAR = 3.0
"""Twice the text may take so many times as long; with its square it would be four times."""


def outgrows(work: Callable[[int], Callable[[], object]], start: int, most: int) -> bool:
    """Whether work takes more than linear time in its size.

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
    """Seconds of this thread that a run takes, the shortest of a few."""
    return min(_once(run) for _ in range(tries))


def _once(run: Callable[[], object]) -> float:
    started = thread_time()
    run()
    return thread_time() - started
