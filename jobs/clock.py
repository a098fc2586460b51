"""Redis's clock against this process's monotonic one, which never steps."""

from time import monotonic

STEP_S = 10.0
"""Deviation that is a step, as in prelude.lua; a lease that is kept outlives a smaller one."""


class ServerClock:
    """What a process that looks every second knows of Redis's clock.

    Attributes:
        steady_since: Since when, by :func:`time.monotonic`, the clock has not stepped.
        stepped_back: It has, and what waits by the earlier time is not all pulled forward.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, float] | None = None
        self.steady_since = float("-inf")
        self.stepped_back = False

    @property
    def expected_ms(self) -> int | str:
        """Where the clock should be now; empty where it was not looked at before."""
        if self._seen is None:
            return ""
        then_ms, then = self._seen
        return then_ms + int((monotonic() - then) * 1000)

    def look(self, now_ms: int) -> None:
        """Take note of what the clock shows."""
        expected = self.expected_ms
        if isinstance(expected, int) and abs(now_ms - expected) > STEP_S * 1000:
            self.steady_since = monotonic()
            self.stepped_back |= now_ms < expected
        self._seen = (now_ms, monotonic())
