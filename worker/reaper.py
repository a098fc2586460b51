"""Returns jobs whose lease ended to the queue, and rings lost doorbells again."""

import logging
from time import monotonic

from celery import Celery
from redis import Redis

from revalid.jobs.errors import BrokerUnavailable
from revalid.jobs.ledger.ledger import LEASE_S, Ledger
from revalid.jobs.ledger.record import Doorbell
from revalid.jobs.queue import ring, ringing

OVERDUE_S = 30.0

log = logging.getLogger("revalid.worker")


class Reaper:
    """One worker's reaper; call :meth:`reap` about once a second.

    When Redis is back after an outage, the reaper waits one full lease before it ends any: nobody
    could renew leases in the outage.
    """

    def __init__(self, redis: Redis, ledger: Ledger, app: Celery) -> None:
        self._redis = redis
        self._ledger = ledger
        self._app = app
        self._redis_away_at = float("-inf")
        self._redis_run_id: str | None = None

    def redis_was_away(self) -> None:
        """Record that Redis did not answer just now."""
        self._redis_away_at = monotonic()

    def reap(self) -> None:
        """Return jobs whose lease ended to the queue, and ring doorbells that no queue holds."""
        if self._redis_restarted():
            self.redis_was_away()
        judge = monotonic() - self._redis_away_at > LEASE_S
        reaped = self._ledger.reap(judge=judge, overdue_s=OVERDUE_S)
        for job_id, worker in reaped.lost:
            log.warning("job %s: the lease of %s ended", job_id, worker)
        if reaped.overdue:
            self._ring_lost(reaped.overdue)

    def _ring_lost(self, overdue: list[Doorbell]) -> None:
        queues = {doorbell.queue for doorbell in overdue}
        in_queues = {job_id for queue in queues for job_id in ringing(self._redis, queue)}
        for doorbell in overdue:
            if doorbell.job_id not in in_queues:
                log.warning("job %s: its doorbell rings again", doorbell.job_id)
                try:
                    ring(self._app, doorbell)
                except BrokerUnavailable as error:  # a later round rings it
                    log.warning("%s", error)
                    return

    def _redis_restarted(self) -> bool:
        """Return whether Redis is a new process, or has run for less than one lease.

        Its uptime alone is not enough: it is negative while Redis's clock has stepped back.
        """
        server = self._redis.info("server")
        before, self._redis_run_id = self._redis_run_id, server["run_id"]
        return self._redis_run_id != before and (
            before is not None or 0 <= server["uptime_in_seconds"] <= LEASE_S
        )
