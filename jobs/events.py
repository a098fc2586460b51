"""The event stream of each job: one Redis stream, read from any point, sync or async.

Types: ``queued``, ``started`` (worker, attempt), ``sandbox`` (kind, fallback_reason), ``plan``
(strategy, reason, steps), ``step_started`` (name, index), ``output`` (name, stream, text),
``step_finished`` (name, index, the step's figures), ``cancelling``, ``requeued``, ``finished``
(verdict).
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from redis import Redis

from jobs.ledger import EVENTS_MAX, events_key

FINISHED = "finished"
_BLOCK_MS = 4_000


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; ``id`` resumes the stream after it."""

    id: str
    type: str
    data: dict[str, Any]

    @property
    def last(self) -> bool:
        """Whether the job is done."""
        return self.type == FINISHED


def append(client: Redis, job_id: str, type_: str, data: dict[str, Any]) -> None:
    """Add an event; the oldest are dropped above a bound."""
    client.xadd(
        events_key(job_id),
        {"type": type_, "data": json.dumps(data)},
        maxlen=EVENTS_MAX,
        approximate=True,
    )


def follow(client: Redis, job_id: str, after: str = "0") -> Iterator[Event]:
    """Events after an id, waiting for more, until the job is done.

    Yields ``None``-free events only; a caller that wants to stop waiting closes the iterator.
    """
    while True:
        for event in _decode(client.xread({events_key(job_id): after}, block=_BLOCK_MS)):
            after = event.id
            yield event
            if event.last:
                return


async def follow_async(
    client: "redis.asyncio.Redis", job_id: str, after: str = "0"
) -> AsyncIterator[Event]:
    """The same as :func:`follow`, on an event loop."""
    while True:
        for event in _decode(await client.xread({events_key(job_id): after}, block=_BLOCK_MS)):
            after = event.id
            yield event
            if event.last:
                return


def _decode(answer: Any) -> Iterator[Event]:
    streams = answer.items() if isinstance(answer, dict) else answer or ()
    for _, entries in streams:
        for event_id, fields in entries:
            yield Event(event_id, fields["type"], json.loads(fields.get("data", "{}")))
