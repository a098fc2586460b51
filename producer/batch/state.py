"""Batches in Redis: the plan, and the job of each project.

A copy of the plan is on disk, so that a batch can be resumed if Redis lost its data.
"""

import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from redis import Redis

from revalid.jobs import atomic_write
from revalid.jobs.errors import UnknownJob
from revalid.jobs.ledger.keys import BATCHES_KEY, batch_key
from revalid.producer.batch.item import BatchItem

_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a batch.

    Attributes:
        created_at: By Redis's clock: an older verdict is reused by the batch.
        options: Arguments of :func:`.prepare` for every project.
        fresh: Whether to run projects that have a verdict already.
    """

    id: str
    source: str
    created_at: datetime
    options: dict[str, Any]
    fresh: bool
    entries: list[BatchItem]


@dataclass(frozen=True, slots=True)
class Head:
    """The summary of a batch for lists.

    Attributes:
        submitted: Number of projects that have a job.
    """

    id: str
    source: str
    created_at: str
    projects: int
    submitted: int


class BatchStore:
    """The batches of one broker.

    Args:
        directory: Directory of the plans' copies on this machine.
        ttl_s: Seconds for which a batch is kept after its last change.
    """

    def __init__(self, redis: Redis, directory: Path, *, ttl_s: int) -> None:
        self._redis = redis
        self._directory = directory
        self._ttl_s = ttl_s

    def now(self) -> datetime:
        """Return the time of the clock that the ends of jobs are taken from."""
        seconds, microseconds = self._redis.time()
        return datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)

    def create(self, plan: Plan) -> None:
        """Store a plan, on disk first; delete copies of expired plans."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._forget_old()
        kept = {**_head(plan), "entries": [entry.model_dump() for entry in plan.entries]}
        atomic_write.replace(self._file(plan.id), json.dumps(kept).encode())
        self._write(plan)

    def plan(self, batch_id: str) -> Plan:
        """Load a batch's plan, from this machine's copy if Redis has none any more.

        Raises:
            UnknownJob: No batch has this id.
        """
        head = cast("dict[str, str]", self._redis.hgetall(batch_key(batch_id)))
        if head:
            texts = cast("list[str]", self._redis.lrange(batch_key(batch_id, "entries"), 0, -1))
            return _plan(head, [BatchItem.model_validate_json(text) for text in texts])
        try:
            kept = json.loads(self._file(batch_id).read_text())
        except (OSError, ValueError):
            raise UnknownJob(
                f"batch {batch_id}: no batch has this id: `revalid batch list` prints the ids"
            ) from None
        plan = _plan(kept, [BatchItem.model_validate(entry) for entry in kept["entries"]])
        self._write(plan)
        return plan

    def jobs(self, batch_id: str) -> dict[int, str]:
        """Return the ids of the projects' jobs, by position."""
        values = cast("dict[str, str]", self._redis.hgetall(batch_key(batch_id, "jobs")))
        return {int(index): job_id for index, job_id in values.items()}

    def errors(self, batch_id: str) -> dict[int, str]:
        """Return the errors of projects that could not be submitted, by position."""
        values = cast("dict[str, str]", self._redis.hgetall(batch_key(batch_id, "errors")))
        return {int(index): error for index, error in values.items()}

    def record_submits(self, batch_id: str, jobs: dict[int, str], errors: dict[int, str]) -> None:
        """Record new jobs, and errors of submits, by position."""
        pipe = self._redis.pipeline()
        for name, other, values in (("jobs", "errors", jobs), ("errors", "jobs", errors)):
            if values:
                pipe.hset(
                    batch_key(batch_id, name), mapping={str(i): text for i, text in values.items()}
                )
                pipe.hdel(batch_key(batch_id, other), *map(str, values))
        self._touch(pipe, batch_id)
        pipe.execute()

    def rounds(self, batch_id: str) -> dict[int, int]:
        """Return how often ``batch retry`` ran projects again, by position."""
        values = cast("dict[str, str]", self._redis.hgetall(batch_key(batch_id, "rounds")))
        return {int(index): int(number) for index, number in values.items()}

    def again(self, batch_id: str, positions: Iterable[int]) -> None:
        """Mark projects to be submitted again."""
        pipe = self._redis.pipeline()
        for position in positions:
            pipe.hincrby(batch_key(batch_id, "rounds"), str(position), 1)
            pipe.hdel(batch_key(batch_id, "jobs"), str(position))
            pipe.hdel(batch_key(batch_id, "errors"), str(position))
        self._touch(pipe, batch_id)
        pipe.execute()

    def cancel(self, batch_id: str) -> None:
        """Mark a batch as cancelled; the process that submits it then stops."""
        self._redis.hset(batch_key(batch_id), "cancelled", "1")

    def is_cancelled(self, batch_id: str) -> bool:
        """Return whether the batch was cancelled and not resumed since."""
        return bool(self._redis.hexists(batch_key(batch_id), "cancelled"))

    def go_on(self, batch_id: str) -> None:
        """Mark a batch as resumed, and renew the time for which it is kept."""
        pipe = self._redis.pipeline()
        pipe.hdel(batch_key(batch_id), "cancelled")
        self._touch(pipe, batch_id)
        pipe.execute()
        with suppress(OSError):
            os.utime(self._file(batch_id))

    def head(self, batch_id: str) -> Head | None:
        """Return a batch's summary; None if Redis has no such batch."""
        pipe = self._redis.pipeline()
        pipe.hgetall(batch_key(batch_id))
        pipe.llen(batch_key(batch_id, "entries"))
        pipe.hlen(batch_key(batch_id, "jobs"))
        values, projects, submitted = pipe.execute()
        if not values:
            return None
        return Head(batch_id, values["source"], values["created_at"], projects, submitted)

    def latest(self) -> Sequence[str]:
        """Return the ids of the batches, the newest first."""
        ids = cast("list[str]", self._redis.zrevrange(BATCHES_KEY, 0, -1))
        gone = [batch_id for batch_id in ids if not self._redis.exists(batch_key(batch_id))]
        if gone:
            self._redis.zrem(BATCHES_KEY, *gone)
        return [batch_id for batch_id in ids if batch_id not in gone]

    def _forget_old(self) -> None:
        for file in self._directory.iterdir():
            with suppress(OSError):  # another process may delete them too
                is_old = time.time() - file.stat().st_mtime > self._ttl_s
                if is_old and file.suffix in (".json", ".part"):
                    file.unlink()

    def _write(self, plan: Plan) -> None:
        pipe = self._redis.pipeline()
        pipe.delete(batch_key(plan.id, "entries"))
        for start in range(0, len(plan.entries), _CHUNK):
            texts = [entry.model_dump_json() for entry in plan.entries[start : start + _CHUNK]]
            pipe.rpush(batch_key(plan.id, "entries"), *texts)
        pipe.hset(batch_key(plan.id), mapping=cast("dict[Any, Any]", _head(plan)))
        pipe.zadd(BATCHES_KEY, {plan.id: plan.created_at.timestamp()})
        self._touch(pipe, plan.id)
        pipe.execute()

    def _touch(self, pipe: Any, batch_id: str) -> None:
        for name in ("", "entries", "jobs", "errors", "rounds"):
            pipe.expire(batch_key(batch_id, name), self._ttl_s)

    def _file(self, batch_id: str) -> Path:
        return self._directory / f"{Path(batch_id).name}.json"


def _head(plan: Plan) -> dict[str, str]:
    return {
        "id": plan.id,
        "source": plan.source,
        "created_at": plan.created_at.isoformat(),
        "options": json.dumps(plan.options),
        "fresh": str(int(plan.fresh)),
    }


def _plan(head: dict[str, str], entries: list[BatchItem]) -> Plan:
    return Plan(
        id=head["id"],
        source=head["source"],
        created_at=datetime.fromisoformat(head["created_at"]).astimezone(UTC),
        options=json.loads(head["options"]),
        fresh=head["fresh"] == "1",
        entries=entries,
    )
