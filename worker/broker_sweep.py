"""Sweeps from Redis the places for replies that killed processes left in Celery's tables."""

from time import monotonic
from typing import cast

from redis import Redis

EVERY_S = 60.0
MOST = 100
"""Places that one round looks at; the next goes on after them."""
_REPLIES = "_kombu.binding.reply.celery.pidbox"
_SEPARATOR = "\x06\x16"


class BrokerSweep:
    """One worker's share of the sweeping; :meth:`look` is to be called every second or so."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._last = float("-inf")
        self._cursor = 0
        self._empty: set[str] = set()

    def look(self) -> None:
        """Sweep a little, once a minute.

        A place goes that had no reply at two looks: who asks again binds one again.
        """
        if monotonic() - self._last < EVERY_S:
            return
        self._last = monotonic()
        self._cursor, members = cast(
            "tuple[int, list[str]]", self._redis.sscan(_REPLIES, self._cursor, count=MOST)
        )
        pipe = self._redis.pipeline(transaction=False)
        for member in members:
            pipe.exists(member.rpartition(_SEPARATOR)[2])
        there = dict(zip(members, pipe.execute(), strict=True))
        empty = {member for member in members if not there[member]}
        gone = empty & self._empty
        if gone:
            self._redis.srem(_REPLIES, *gone)
        self._empty = (self._empty - set(members)) | (empty - gone)
