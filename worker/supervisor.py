"""The worker's parent process: says that the worker is here, and returns lost jobs to the queue."""

import logging
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, sleep

import psutil
from celery import Celery
from redis.exceptions import OutOfMemoryError

from revalid.jobs.connection import broker_errors, connect
from revalid.jobs.errors import BrokerUnavailable, PermanentError, TransientError
from revalid.jobs.job import SandboxPolicy
from revalid.jobs.ledger.keys import COUNTERS_KEY, failure_key, worker_key
from revalid.jobs.ledger.ledger import LEASE_S
from revalid.jobs.ledger.record import SERVING_S
from revalid.jobs.ledger.stats import MESSAGES_DROPPED
from revalid.jobs.ledger.workers import Worker, leave, report
from revalid.jobs.queue import open_ledger, ring, ringing
from revalid.jobs.settings import VERSION, Settings
from revalid.jobs.worker_fingerprint import fingerprint
from revalid.worker.broker_sweep import BrokerSweep
from revalid.worker.children import Children, pool_children
from revalid.worker.engine_health import EngineHealth
from revalid.worker.executor import process_name
from revalid.worker.outbox import Outbox
from revalid.worker.retention import purge
from revalid.worker.sandboxes.local import bubblewrap
from revalid.worker.scratch import sweep
from revalid.worker.transport import dropped
from revalid.worker.webhooks.dispatcher import WebhookDispatcher
from revalid.worker.webhooks.sender import WebhookSender

ROUND_S = 1.0
OVERDUE_S = 30.0
END_TIMEOUT_S = 10.0
SWEEP_EVERY_S = 60.0
PURGE_EVERY_S = 3_600.0
STOP_TIMEOUT_S = 5.0
LAST_POSTS_S = 2.0
"""Bound of what a stopping worker still posts to webhooks; others are posted by the next one."""
CONSUMED_S = 15.0
"""Age of the consumer's last sign of life above which it hangs."""

log = logging.getLogger("revalid.worker")


class Supervisor(threading.Thread):
    """A thread beside Celery's consumer, from ready to shutdown."""

    def __init__(
        self, settings: Settings, url: str, app: Celery, hostname: str, queues: Sequence[str]
    ) -> None:
        super().__init__(name="attendant", daemon=True)
        self._settings = settings
        self._url = url
        self._app = app
        self._queues = queues
        self._name = process_name(os.getpid())
        self._redis = connect(url)
        self._ledger = open_ledger(settings, self._redis, app)
        self._outbox = Outbox(settings.home, self._ledger, url)
        self._quarantine = EngineHealth(settings, app, hostname, queues)
        self._broker_sweep = BrokerSweep(self._redis)
        self._unserved_since: float | None = None
        self._key = worker_key(fingerprint(settings, os.environ))
        settings.home.mkdir(parents=True, exist_ok=True)
        self._alive = settings.home / "alive"  # its age is what a health check reads
        self._children = Children(self._ledger)
        self._away = float("-inf")  # when Redis was last away
        self._run_id: str | None = None  # of the Redis that was last seen
        self._consumed = monotonic()
        self._stop_asked = threading.Event()
        self._ended = threading.Event()
        self._hurried = False
        self._courier: threading.Thread | None = None

    def run(self) -> None:
        """One round every second, until :meth:`stop`."""
        threading.Thread(target=self._tidy, name="tidy", daemon=True).start()
        if (key := self._settings.webhook_key) is not None:
            poster = WebhookSender(key, self._settings.webhook_allow)
            courier = WebhookDispatcher(self._settings, self._ledger, self._url, poster)
            args = (self._stop_asked,)
            self._courier = threading.Thread(
                target=courier.run, args=args, name="webhooks", daemon=True
            )
            self._courier.start()
        suspected = True  # nobody has looked at engine and files yet
        while True:
            try:
                with broker_errors(self._url):
                    self._round(suspected=suspected)
                suspected = False
                if self._consumes() and self._quarantine.files is None:
                    self._alive.touch()
            except TransientError as error:
                self._away = monotonic()
                self._children.forget()
                log.warning("%s", error)
            except Exception:  # the next round may do better; without rounds nothing is reaped
                log.exception("the attendant's round failed")
            if self._stop_asked.wait(ROUND_S):
                return

    def _tidy(self) -> None:
        """Remove old files and what killed processes left, beside the rounds: there may be many."""
        purged = float("-inf")
        while True:
            try:
                sweep(self._settings.scratch)
                if monotonic() - purged > PURGE_EVERY_S:
                    purged = monotonic()
                    purge(self._settings)
            except Exception:
                log.exception("old files were not removed")
            if self._stop_asked.wait(SWEEP_EVERY_S):
                return

    def consumes(self) -> None:
        """Celery's consumer shows that it does not hang."""
        self._consumed = monotonic()

    def _consumes(self) -> bool:
        return monotonic() - self._consumed < CONSUMED_S

    def revoked(self, job_id: str) -> None:
        """Somebody revoked a job's task: a cancel, for nobody would run the job any more."""
        with suppress(PermanentError, TransientError), broker_errors(self._url):
            self._ledger.cancel(job_id)

    def stop(self) -> None:
        """Take no part any more; the worker's keys go at once."""
        self._stop_asked.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(STOP_TIMEOUT_S)  # or its round would say once more that the worker is here
        if self._courier is not None:
            self._courier.join(LAST_POSTS_S)
        self._quarantine.close()
        try:
            with broker_errors(self._url):
                self._redis.delete(self._key)
                leave(self._redis, self._name)
                self._serve(0)
        except TransientError as error:
            log.warning("%s", error)

    def drain(self, grace_s: float) -> None:
        """Let Celery finish what runs, but after ``grace_s`` seconds return it to the queue."""
        self.stop()
        timer = threading.Timer(0 if self._hurried else grace_s, self._end)
        timer.daemon = True
        timer.start()

    def leave(self) -> None:
        """Stop taking jobs, return what runs to the queue, and end this process."""
        self._hurried = True
        os.kill(os.getpid(), signal.SIGTERM)  # Celery stops consuming, and drain is called
        self._ended.wait(2 * END_TIMEOUT_S)
        os._exit(0)  # Celery's own way out takes seconds, and nothing is left to do

    def _end(self) -> None:
        self._end_children()
        sleep(END_TIMEOUT_S)
        # A child that was ended while it held a lock of the pool has Celery wait for ever.
        log.warning("Celery did not end by itself")
        os._exit(0)

    def _end_children(self) -> None:
        """Have each child return its job to the queue and end; by force after a bound."""
        children = list(pool_children().values())
        deadline = monotonic() + END_TIMEOUT_S
        while children and monotonic() < deadline:
            for child in children:  # a busy one returns its job, and then the next signal ends it
                with suppress(psutil.NoSuchProcess):
                    child.terminate()
            children = psutil.wait_procs(children, timeout=0.1)[1]
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._ended.set()

    def _round(self, *, suspected: bool) -> None:
        with suppress(OutOfMemoryError):  # full or not, the rest is to be done
            self._redis.set(self._key, os.getpid(), ex=int(SERVING_S))
        self._children.look(trusted=self._consumes())
        self._count_dropped()
        self._outbox.flush()
        suspected |= bool(self._redis.getdel(failure_key(self._name)))
        self._quarantine.look(suspected=suspected)
        if (reason := self._quarantine.reason) is None:
            self._serve(self._settings.concurrency)
            self._unserved_since = None
        else:
            self._serve(0)
            self._fail_unserved(reason)
        self._say()
        self._reap()
        self._broker_sweep.look()

    def _say(self) -> None:
        policy = self._settings.sandbox_policy
        around = "" if policy is SandboxPolicy.DAGGER else f", {self._local()}"
        worker = Worker(
            name=self._name,
            slots=self._settings.concurrency,
            sandbox=f"{policy}{around}",
            version=VERSION,
            reason=self._quarantine.reason,
        )
        with suppress(OutOfMemoryError):
            report(self._redis, worker)

    def _local(self) -> str:
        jailed = self._settings.bubblewrap and bubblewrap.works()
        return "in bubblewrap" if jailed else "without bubblewrap"

    def _count_dropped(self) -> None:
        number, last = dropped.take()
        if number:
            log.error("%d messages dropped, the last: %s", number, last)
            with suppress(OutOfMemoryError):
                self._redis.hincrby(COUNTERS_KEY, MESSAGES_DROPPED, number)

    def _serve(self, slots: int) -> None:
        self._ledger.announce(self._name, self._queues, slots=slots)

    def _fail_unserved(self, reason: str) -> None:
        """While no worker takes from these queues, jobs wait for one; each has its bound."""
        self._unserved_since = self._unserved_since or monotonic()
        error = f"no worker in service took the job for as long as it waits for one: {reason}"
        for job_id in self._ledger.fail_unserved(
            self._queues, monotonic() - self._unserved_since, error
        ):
            log.warning("job %s: waited too long for a worker in service", job_id)

    def _restarted(self) -> bool:
        """Whether Redis is another process than before, or too young for its leases to be judged.

        Its uptime alone says nothing: it is negative for as long as its clock has stepped back.
        """
        server = self._redis.info("server")
        before, self._run_id = self._run_id, server["run_id"]
        return self._run_id != before and (
            before is not None or 0 <= server["uptime_in_seconds"] <= LEASE_S
        )

    def _reap(self) -> None:
        if self._restarted():
            self._away = monotonic()
        judge = monotonic() - self._away > LEASE_S
        reaped = self._ledger.reap(judge=judge, overdue_s=OVERDUE_S)
        for job_id, worker in reaped.lost:
            log.warning("job %s: the lease of %s ended", job_id, worker)
        if not reaped.overdue:
            return
        queues = {doorbell.queue for doorbell in reaped.overdue}
        there = {job_id for queue in queues for job_id in ringing(self._redis, queue)}
        for doorbell in reaped.overdue:
            if doorbell.job_id not in there:
                log.warning("job %s: its doorbell rings again", doorbell.job_id)
                try:
                    ring(self._app, doorbell)
                except BrokerUnavailable as error:  # it comes again
                    log.warning("%s", error)
                    return
