"""The workers of a broker: what each says of itself every second, and when it last did."""

import json
from dataclasses import asdict, dataclass
from typing import Any, cast

from redis import Redis

from revalid.jobs.ledger.keys import WORKERS_KEY

FRESH_S = 15.0
"""Age of a worker's last word up to which it runs."""
_FORGOTTEN_S = 86_400


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, in its own words.

    Attributes:
        slots: Jobs that it runs at a time.
        sandbox: Where it runs them, for people.
        reason: Why it takes no jobs; None where it does.
        age_s: Seconds since it said so.
    """

    name: str
    slots: int
    sandbox: str
    version: str
    reason: str | None = None
    age_s: float = 0.0

    @property
    def runs(self) -> bool:
        """Whether it is there, as far as can be known."""
        return self.age_s < FRESH_S


def say(redis: Redis, worker: Worker) -> None:
    """Keep what a worker says, and forget those that have been silent for a day."""
    seconds, _ = redis.time()
    silent = [each.name for each in workers(redis) if each.age_s > _FORGOTTEN_S]
    pipe = redis.pipeline(transaction=False)
    if silent:
        pipe.hdel(WORKERS_KEY, *silent)
    pipe.hset(WORKERS_KEY, worker.name, json.dumps({**asdict(worker), "at": seconds}))
    pipe.execute()


def leave(redis: Redis, name: str) -> None:
    """Forget a worker that ends as it should."""
    redis.hdel(WORKERS_KEY, name)


def workers(redis: Redis) -> list[Worker]:
    """Every worker that has said something of late, those that were heard last first."""
    seconds, _ = redis.time()
    found = cast("dict[str, str]", redis.hgetall(WORKERS_KEY))
    known = [_decode(json.loads(text), seconds) for text in found.values()]
    return sorted(known, key=lambda worker: (worker.age_s, worker.name))


def _decode(fields: dict[str, Any], now: float) -> Worker:
    age_s = abs(now - fields.pop("at"))  # of the future: before Redis's clock stepped back
    names = Worker.__dataclass_fields__
    return Worker(**{**{name: fields[name] for name in names if name in fields}, "age_s": age_s})
