"""Removes the reply queues of killed processes from Celery's binding table in Redis."""

from time import monotonic
from typing import cast

from redis import Redis

EVERY_S = 60.0
MOST = 100
"""Most reply queues that one sweep checks; the next sweep continues after them."""
_REPLIES = "_kombu.binding.reply.celery.pidbox"
_SEPARATOR = "\x06\x16"


class BrokerSweep:
    """Sweeps the table in parts; call :meth:`sweep` about once a second."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._last = float("-inf")
        self._cursor = 0
        self._empty: set[str] = set()

    def sweep(self) -> None:
        """Sweep a part of the table, once a minute.

        A binding is removed if its queue was empty in two sweeps. A process that still needs its
        queue binds it again with its next request.
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
        exists = dict(zip(members, pipe.execute(), strict=True))
        empty = {member for member in members if not exists[member]}
        unused = empty & self._empty
        if unused:
            self._redis.srem(_REPLIES, *unused)
        self._empty = (self._empty - set(members)) | (empty - unused)
