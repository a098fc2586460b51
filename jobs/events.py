"""The event stream of each job: one Redis stream, read from any point, sync or async.

====================  =======================================================================
``queued``            the job waits
``started``           ``worker``, ``attempt``
``sandbox``           ``kind``, ``fallback_reason``, ``image``, ``image_digest``
``plan``              ``strategy``, ``reason``, ``steps`` (names), ``notes``
``step_started``      ``index``, ``op``, ``name``, ``command``
``output``            ``index``, ``stream``, ``text``
``step_finished``     ``index``, ``name``, ``ok``, ``exit_code``, ``duration_s``, ``timed_out``,
                      ``limit_exceeded``, ``limit_value``, ``cancelled``, ``cached``, ``saved_s``,
                      ``skipped_reason``
``cancelling``        somebody asked for the job to end
``requeued``          ``reason``: its worker gave it back, or was lost
``finished``          ``verdict``; always the last
====================  =======================================================================
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from redis import Redis

from revalid.jobs.errors import InvalidJob
from revalid.jobs.ledger.record import events_key

FINISHED = "finished"
_AT_ONCE = 100
"""Events in one answer: one may have 50 KB."""
BLOCK_S = 4.0
"""Longest wait of one read: below the socket's own timeout."""


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


def read(client: Redis, job_id: str, after: str, *, block_s: float = BLOCK_S) -> list[Event]:
    """The next events after an id; waits up to ``block_s`` seconds, :data:`BLOCK_S` at most."""
    answer = client.xread({events_key(job_id): after}, _AT_ONCE, _milliseconds(block_s))
    return _decode(answer)


def read_all(client: Redis, job_id: str) -> list[Event]:
    """All events that are kept of a job."""
    return _decode([(None, client.xrange(events_key(job_id)))])


async def read_async(
    client: "redis.asyncio.Redis", job_id: str, after: str, *, block_s: float = BLOCK_S
) -> list[Event]:
    """The same as :func:`read`, on an event loop."""
    key = events_key(job_id)
    return _decode(await client.xread({key: after}, _AT_ONCE, _milliseconds(block_s)))


def check_position(after: str) -> None:
    """Raise :class:`~revalid.jobs.errors.InvalidJob` where ``after`` is no event id."""
    if not re.fullmatch(r"[0-9]{1,19}(-[0-9]{1,19})?", after):
        raise InvalidJob(f"event id {after!r}: give the id of an event, or 0 for the first")


def _milliseconds(seconds: float) -> int:
    return max(1, int(min(seconds, BLOCK_S) * 1000))  # 0 would wait for ever


def _decode(answer: Any) -> list[Event]:
    return [
        Event(event_id, fields["type"], json.loads(fields.get("data", "{}")))
        for _, entries in answer
        for event_id, fields in entries
    ]
