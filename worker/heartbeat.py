"""The heartbeat of an attempt: it renews the lease and detects a cancel."""

import asyncio
import logging

from revalid.jobs.connection import broker_errors
from revalid.jobs.errors import BrokerUnavailable
from revalid.jobs.ledger.ledger import BEAT_S, Ledger
from revalid.jobs.ledger.record import Attempt

log = logging.getLogger("revalid.worker")


async def keep_lease(ledger: Ledger, attempt: Attempt, url: str) -> None:
    """Renew the lease every second until the job is cancelled.

    Raises:
        LeaseLost: Another attempt owns the job.
    """
    while True:
        await asyncio.sleep(BEAT_S)
        try:
            with broker_errors(url):
                if await asyncio.to_thread(ledger.beat, attempt):
                    return
        except BrokerUnavailable as error:  # a short outage ends no job; the end of its lease does
            log.warning("job %s: no heartbeat (%s)", attempt.job_id, error)
