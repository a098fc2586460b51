"""Statistics of the ledger: its current state, and counters that outlive every process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ENGINE_LOST = "engine_lost"
MESSAGES_DROPPED = "messages_dropped"
WAITED_BOUNDS = ("0.1", "0.5", "1", "5", "15", "60", "300", "900", "3600", "14400", "+Inf")
"""Bounds of the histogram of waits, in seconds, as claim.lua writes them."""


@dataclass(frozen=True, slots=True)
class LaneStats:
    """Statistics of one lane, over all its queues.

    Attributes:
        oldest_s: Seconds that the oldest queued job has waited; 0 if none waits.
    """

    queued: int
    oldest_s: float
    running: int


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Statistics of the whole ledger at one moment.

    Attributes:
        dead: Number of dead jobs.
        slots: Jobs that all workers together may run at a time.
        counters: Values by the words of the counter's name.
        webhooks: Deliveries that wait for their next try or are under way.
    """

    dead: int
    slots: int
    counters: dict[tuple[str, ...], int]
    lanes: dict[str, LaneStats]
    webhooks: int = 0


def decode_stats(answer: Sequence[Any]) -> QueueStats:
    """Decode the reply of ``stats.lua``."""
    dead, slots, counters, lanes, webhooks = answer
    return QueueStats(
        dead=dead,
        slots=slots,
        counters={
            tuple(name.split()): int(value)
            for name, value in zip(counters[::2], counters[1::2], strict=True)
        },
        lanes={
            name: LaneStats(queued, oldest_ms / 1000, running)
            for name, queued, oldest_ms, running in lanes
        },
        webhooks=webhooks,
    )
