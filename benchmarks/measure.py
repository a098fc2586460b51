"""Timing for noisy machines: alternating contenders, medians and their spread."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Times:
    """Durations of one contender's runs, in seconds."""

    runs: tuple[float, ...]

    @property
    def p50(self) -> float:
        """Return the median."""
        return median(self.runs)

    def __str__(self) -> str:
        low, high = (self.runs[0], self.runs[0]) if len(self.runs) < 2 else _quartiles(self.runs)
        return f"{self.p50 * 1000:8.1f} ms  (quartiles {low * 1000:.1f} to {high * 1000:.1f})"


def _quartiles(runs: tuple[float, ...]) -> tuple[float, float]:
    low, _, high = quantiles(runs, n=4)
    return low, high


async def in_turn(contenders: Mapping[str, Work], runs: int) -> dict[str, Times]:
    """Run each contender once for warm-up, then all in turn ``runs`` times."""
    for work in contenders.values():
        await work()
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, work in contenders.items():
            started = time.perf_counter()
            await work()
            found[name].append(time.perf_counter() - started)
    return {name: Times(tuple(times)) for name, times in found.items()}


def show(title: str, times: Mapping[str, Times]) -> None:
    """Print a table."""
    print(f"\n{title}", flush=True)
    for name, measured in times.items():
        print(f"  {name:34} {measured}", flush=True)
