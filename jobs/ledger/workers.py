"""The registry of a broker's workers; each reports its state every second."""

import json
from dataclasses import asdict, dataclass
from typing import Any, cast

from redis import Redis

from revalid.jobs.ledger.keys import WORKERS_KEY

FRESH_S = 15.0
"""Seconds after its last report for which a worker counts as running."""
_FORGOTTEN_S = 86_400


@dataclass(frozen=True, slots=True)
class Worker:
    """The last report of a worker.

    Attributes:
        slots: Jobs that the worker runs at a time.
        sandbox: Its sandbox, in words.
        reason: Why the worker takes no jobs; None if it does.
        age_s: Seconds since the report.
    """

    name: str
    slots: int
    sandbox: str
    version: str
    reason: str | None = None
    age_s: float = 0.0

    @property
    def runs(self) -> bool:
        """Return whether the worker is probably still running."""
        return self.age_s < FRESH_S


def report(redis: Redis, worker: Worker) -> None:
    """Store a worker's report, and remove workers without a report for a day."""
    seconds, _ = redis.time()
    silent = [worker.name for worker in workers(redis) if worker.age_s > _FORGOTTEN_S]
    pipe = redis.pipeline(transaction=False)
    if silent:
        pipe.hdel(WORKERS_KEY, *silent)
    pipe.hset(WORKERS_KEY, worker.name, json.dumps({**asdict(worker), "at": seconds}))
    pipe.execute()


def leave(redis: Redis, name: str) -> None:
    """Remove a worker that ends regularly."""
    redis.hdel(WORKERS_KEY, name)


def workers(redis: Redis) -> list[Worker]:
    """Return every worker that reported in the last day, the latest report first."""
    seconds, _ = redis.time()
    texts = cast("dict[str, str]", redis.hgetall(WORKERS_KEY))
    known = [_decode(json.loads(text), seconds) for text in texts.values()]
    return sorted(known, key=lambda worker: (worker.age_s, worker.name))


def _decode(fields: dict[str, Any], now: float) -> Worker:
    age_s = abs(
        now - fields.pop("at")
    )  # a report from the future precedes a backward step of the clock
    names = Worker.__dataclass_fields__
    return Worker(**{**{name: fields[name] for name in names if name in fields}, "age_s": age_s})
