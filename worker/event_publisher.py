"""Publishes the events of one attempt to the ledger."""

import asyncio
import json
import logging
from typing import Any

from redis import RedisError

from revalid.jobs.ledger.ledger import BEAT_S, Ledger
from revalid.jobs.ledger.record import Attempt

log = logging.getLogger("revalid.worker")


class EventPublisher:
    """Sends events in order; after an outage, first those that waited.

    Create and use it on a running event loop.
    """

    def __init__(self, ledger: Ledger, attempt: Attempt) -> None:
        self._ledger = ledger
        self._attempt = attempt
        self._pending: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
        self._finishing = False
        self._task = asyncio.create_task(self._send())

    def put(self, type_: str, data: dict[str, Any]) -> None:
        """Take an event without waiting."""
        self._pending.put_nowait((type_, json.dumps(data)))

    async def finish(self) -> None:
        """Send the waiting events, or give up if Redis does not answer: the result has them all."""
        self._finishing = True
        self._pending.put_nowait(None)
        await self._task

    async def _send(self) -> None:
        while (event := await self._pending.get()) is not None:
            while True:
                try:
                    await asyncio.to_thread(self._ledger.append, self._attempt, *event)
                    break
                except RedisError as error:
                    log.warning(
                        "job %s: event %s not sent (%s)", self._attempt.job_id, event[0], error
                    )
                    if self._finishing:
                        return
                    await asyncio.sleep(BEAT_S)
