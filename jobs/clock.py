"""Detects steps of Redis's clock by comparing it with this process's monotonic clock."""

from time import monotonic

STEP_S = 10.0
"""Deviation in seconds that counts as a step, as in prelude.lua; a lease outlives a smaller one."""


class ServerClock:
    """Observations of Redis's clock, made about once a second.

    Attributes:
        steady_since: Monotonic time of the last step; minus infinity before the first one.
        stepped_back: The clock stepped back, and some deliveries are still due by the old time.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, float] | None = None
        self.steady_since = float("-inf")
        self.stepped_back = False

    @property
    def expected_ms(self) -> int | str:
        """Return the time that the clock should show, in ms; empty before the first observation."""
        if self._seen is None:
            return ""
        then_ms, then = self._seen
        return then_ms + int((monotonic() - then) * 1000)

    def observe(self, now_ms: int) -> None:
        """Record the time that the clock shows, in milliseconds."""
        expected = self.expected_ms
        if isinstance(expected, int) and abs(now_ms - expected) > STEP_S * 1000:
            self.steady_since = monotonic()
            self.stepped_back |= now_ms < expected
        self._seen = (now_ms, monotonic())
