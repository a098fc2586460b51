"""Sweeps from Redis what Celery keeps there of workers that were killed.

Nothing that is swept is needed: a message without its entry is rung again by the ledger, and what
goes to all workers is published, not routed by a table.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, cast

from redis import Redis
from redis.exceptions import OutOfMemoryError

from jobs.queue import TASK
from jobs.record import State, job_key

EVERY_S = 60.0
MOST = 100
"""Entries of each kind that one round looks at; the next goes on after them."""
NODE_S = 600
_UNACKED, _INDEX = "unacked", "unacked_index"
_NODES = "_kombu.binding.celery.pidbox"
_REPLIES = "_kombu.binding.reply.celery.pidbox"
_SEPARATOR = "\x06\x16"
_INBOX = ".celery.pidbox"


def node_key(node: str) -> str:
    """The key that lives while a Celery node does."""
    return f"revalid:node:{node}"


class BrokerSweep:
    """One worker's share of the sweeping; :meth:`look` is to be called every second or so."""

    def __init__(self, redis: Redis, node: str) -> None:
        self._redis = redis
        self._node = node
        self._last = float("-inf")
        self._cursors = dict.fromkeys((_UNACKED, _NODES, _REPLIES), 0)
        self._empty: set[str] = set()

    def look(self) -> None:
        """Sweep a little, once a minute."""
        if monotonic() - self._last < EVERY_S:
            return
        self._last = monotonic()
        with suppress(OutOfMemoryError):  # one that is taken for gone loses nothing by it
            self._redis.set(node_key(self._node), 1, ex=NODE_S)
        self._sweep_unacked()
        self._sweep_index()
        self._sweep_nodes()
        self._sweep_replies()

    def _sweep_unacked(self) -> None:
        """Messages whose jobs are done, which nobody will acknowledge any more."""
        found: tuple[int, dict[str, str]]
        found = cast(Any, self._redis.hscan(_UNACKED, self._cursors[_UNACKED], count=MOST))
        self._cursors[_UNACKED], entries = found
        jobs = {tag: job_id for tag, text in entries.items() if (job_id := _job_of(text))}
        pipe = self._redis.pipeline(transaction=False)
        for job_id in jobs.values():
            pipe.hget(job_key(job_id), "state")
        under_way = (State.QUEUED, State.RUNNING)
        states = dict(zip(jobs, pipe.execute(), strict=True))
        if done := [tag for tag, state in states.items() if state not in under_way]:
            both = self._redis.pipeline()
            both.hdel(_UNACKED, *done)
            both.zrem(_INDEX, *done)
            both.execute()

    def _sweep_index(self) -> None:
        """The oldest times of messages that are not there."""
        tags = cast("list[str]", self._redis.zrange(_INDEX, 0, MOST - 1))
        if gone := self._without(tags, lambda pipe, tag: pipe.hexists(_UNACKED, tag)):
            self._redis.zrem(_INDEX, *gone)

    def _sweep_nodes(self) -> None:
        """Workers of ours that do not live, among those that hear what is said to all."""
        named = {
            member: name.removesuffix(_INBOX)
            for member in self._scan(_NODES)
            if (name := member.rpartition(_SEPARATOR)[2]).startswith("revalid-")
        }
        gone = self._without(list(named), lambda pipe, each: pipe.exists(node_key(named[each])))
        if gone:
            self._redis.srem(_NODES, *gone)

    def _sweep_replies(self) -> None:
        """Places for replies that had none at two looks; who asks again binds its own again."""
        members = self._scan(_REPLIES)
        queues = {member: member.rpartition(_SEPARATOR)[2] for member in members}
        empty = set(self._without(members, lambda pipe, each: pipe.exists(queues[each])))
        if gone := empty & self._empty:
            self._redis.srem(_REPLIES, *gone)
        self._empty = (empty | (self._empty - set(members))) - gone

    def _scan(self, key: str) -> list[str]:
        self._cursors[key], members = cast(
            "tuple[int, list[str]]", self._redis.sscan(key, self._cursors[key], count=MOST)
        )
        return members

    def _without(self, members: list[str], ask: Any) -> list[str]:
        """Those for which what is asked of Redis is not there."""
        pipe = self._redis.pipeline(transaction=False)
        for member in members:
            ask(pipe, member)
        return [each for each, there in zip(members, pipe.execute(), strict=True) if not there]


def _job_of(text: str) -> str | None:
    """The job whose doorbell a message is; None where it is of somebody else."""
    try:
        message, *_ = json.loads(text)
        headers: Mapping[str, Any] = message["headers"]
        return str(headers["id"]) if headers["task"] == TASK else None
    except (ValueError, TypeError, KeyError):
        return None
