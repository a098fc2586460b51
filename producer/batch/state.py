"""Batches in Redis: what is to be submitted, and which job each project has become.

A copy of the plan lies on disk too, so that a batch can be resumed where Redis lost its data.
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
    """What a batch is to do.

    Attributes:
        options: Arguments of :func:`.prepare` for every project.
        fresh: Run also what has its verdict.
    """

    id: str
    source: str
    created_at: datetime
    options: dict[str, Any]
    fresh: bool
    entries: list[BatchItem]


@dataclass(frozen=True, slots=True)
class Head:
    """What a list of batches shows of one.

    Attributes:
        submitted: Projects that have become jobs.
    """

    id: str
    source: str
    created_at: str
    projects: int
    submitted: int


class BatchStore:
    """The batches of one broker.

    Args:
        directory: Where plans are kept on this machine.
        ttl_s: Seconds that a batch is kept after it was last written.
    """

    def __init__(self, redis: Redis, directory: Path, *, ttl_s: int) -> None:
        self._redis = redis
        self._directory = directory
        self._ttl_s = ttl_s

    def create(self, plan: Plan) -> None:
        """Keep a plan, on disk first, and forget the copies of those that are too old."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._forget_old()
        kept = {**_head(plan), "entries": [entry.model_dump() for entry in plan.entries]}
        atomic_write.replace(self._file(plan.id), json.dumps(kept).encode())
        self._write(plan)

    def plan(self, batch_id: str) -> Plan:
        """A batch's plan, from this machine's copy where Redis has none any more.

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
                f"batch {batch_id}: no batch has this id; `revalid batch list` names them"
            ) from None
        plan = _plan(kept, [BatchItem.model_validate(entry) for entry in kept["entries"]])
        self._write(plan)
        return plan

    def jobs(self, batch_id: str) -> dict[int, str]:
        """Ids of the jobs that projects have become, by position."""
        found = cast("dict[str, str]", self._redis.hgetall(batch_key(batch_id, "jobs")))
        return {int(index): job_id for index, job_id in found.items()}

    def errors(self, batch_id: str) -> dict[int, str]:
        """Why projects could not be submitted, by position."""
        found = cast("dict[str, str]", self._redis.hgetall(batch_key(batch_id, "errors")))
        return {int(index): error for index, error in found.items()}

    def submitted(self, batch_id: str, jobs: dict[int, str], errors: dict[int, str]) -> None:
        """Note what submits have come to."""
        pipe = self._redis.pipeline()
        for name, other, found in (("jobs", "errors", jobs), ("errors", "jobs", errors)):
            if found:
                pipe.hset(
                    batch_key(batch_id, name), mapping={str(i): text for i, text in found.items()}
                )
                pipe.hdel(batch_key(batch_id, other), *map(str, found))
        self._touch(pipe, batch_id)
        pipe.execute()

    def rounds(self, batch_id: str) -> dict[int, int]:
        """How often projects were run again on demand, by position."""
        found = cast("dict[str, str]", self._redis.hgetall(batch_key(batch_id, "rounds")))
        return {int(index): int(number) for index, number in found.items()}

    def again(self, batch_id: str, positions: Iterable[int]) -> None:
        """Have projects submitted once more."""
        pipe = self._redis.pipeline()
        for position in positions:
            pipe.hincrby(batch_key(batch_id, "rounds"), str(position), 1)
            pipe.hdel(batch_key(batch_id, "jobs"), str(position))
            pipe.hdel(batch_key(batch_id, "errors"), str(position))
        self._touch(pipe, batch_id)
        pipe.execute()

    def cancel(self, batch_id: str) -> None:
        """Have whoever submits this batch stop."""
        self._redis.hset(batch_key(batch_id), "cancelled", "1")

    def is_cancelled(self, batch_id: str) -> bool:
        """Whether it was cancelled, and nobody went on with it since."""
        return bool(self._redis.hexists(batch_key(batch_id), "cancelled"))

    def go_on(self, batch_id: str) -> None:
        """Have a batch submitted again, and remembered for as long as a new one."""
        pipe = self._redis.pipeline()
        pipe.hdel(batch_key(batch_id), "cancelled")
        self._touch(pipe, batch_id)
        pipe.execute()
        with suppress(OSError):
            os.utime(self._file(batch_id))

    def head(self, batch_id: str) -> Head | None:
        """A batch without its projects; None where Redis has none."""
        pipe = self._redis.pipeline()
        pipe.hgetall(batch_key(batch_id))
        pipe.llen(batch_key(batch_id, "entries"))
        pipe.hlen(batch_key(batch_id, "jobs"))
        found, projects, submitted = pipe.execute()
        if not found:
            return None
        return Head(batch_id, found["source"], found["created_at"], projects, submitted)

    def latest(self) -> Sequence[str]:
        """Ids of the batches, the newest first."""
        ids = cast("list[str]", self._redis.zrevrange(BATCHES_KEY, 0, -1))
        gone = [batch_id for batch_id in ids if not self._redis.exists(batch_key(batch_id))]
        if gone:
            self._redis.zrem(BATCHES_KEY, *gone)
        return [batch_id for batch_id in ids if batch_id not in gone]

    def _forget_old(self) -> None:
        for file in self._directory.iterdir():
            with suppress(OSError):  # another process forgets them too
                old = time.time() - file.stat().st_mtime > self._ttl_s
                if old and file.suffix in (".json", ".part"):
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
