"""The supervisor: a thread of a worker's parent process that looks after the whole worker."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, sleep

from celery import Celery
from redis.exceptions import OutOfMemoryError

from revalid.jobs.connection import broker_errors, connect
from revalid.jobs.errors import PermanentError, TransientError
from revalid.jobs.job import SandboxPolicy
from revalid.jobs.ledger.keys import COUNTERS_KEY, worker_key
from revalid.jobs.ledger.record import SERVING_S
from revalid.jobs.ledger.stats import MESSAGES_DROPPED
from revalid.jobs.ledger.workers import Worker, leave, report
from revalid.jobs.queue import open_ledger
from revalid.jobs.settings import VERSION, Settings
from revalid.jobs.worker_fingerprint import fingerprint
from revalid.worker.broker_sweep import BrokerSweep
from revalid.worker.children import Children, end_children
from revalid.worker.engine_health import EngineHealth, take_failure_report
from revalid.worker.maintenance import maintain_files
from revalid.worker.outbox import Outbox
from revalid.worker.process_names import process_name
from revalid.worker.reaper import Reaper
from revalid.worker.sandboxes.local import bubblewrap
from revalid.worker.transport import dropped
from revalid.worker.webhooks.dispatcher import WebhookDispatcher
from revalid.worker.webhooks.sender import WebhookSender

ROUND_S = 1.0
END_TIMEOUT_S = 9.0
"""Seconds in which a worker ends after its grace; ``stop_grace_period`` is 10 s above the grace."""
STOP_TIMEOUT_S = 5.0
LAST_POSTS_S = 2.0
"""Seconds for which a stopping worker still posts webhooks; other workers post the rest."""
CONSUMER_ALIVE_S = 15.0
"""Seconds without a sign of life after which Celery's consumer counts as hanging."""

log = logging.getLogger("revalid.worker")


class Supervisor(threading.Thread):
    """A thread beside Celery's consumer; it runs from the worker's start to its shutdown."""

    def __init__(
        self, settings: Settings, url: str, app: Celery, hostname: str, queues: Sequence[str]
    ) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._settings = settings
        self._url = url
        self._queues = queues
        self._name = process_name(os.getpid())
        self._redis = connect(url)
        self._ledger = open_ledger(settings, self._redis, app)
        self._outbox = Outbox(settings.home, self._ledger, url)
        self._health = EngineHealth(settings, app, hostname, queues)
        self._broker_sweep = BrokerSweep(self._redis)
        self._children = Children(self._ledger)
        self._reaper = Reaper(self._redis, self._ledger, app)
        self._out_of_service_since: float | None = None
        self._fingerprint_key = worker_key(fingerprint(settings, os.environ))
        settings.home.mkdir(parents=True, exist_ok=True)
        self._alive_file = settings.home / "alive"  # its age is what a container's probe reads
        self._consumer_seen_at = monotonic()
        self._stopped = threading.Event()
        self._children_ended = threading.Event()
        self._leaving = False
        self._webhooks: threading.Thread | None = None

    def run(self) -> None:
        """Do one round every second, until :meth:`stop`."""
        _start_thread("maintenance", maintain_files, self._settings, self._stopped)
        if (key := self._settings.webhook_key) is not None:
            sender = WebhookSender(key, self._settings.webhook_allow)
            dispatcher = WebhookDispatcher(self._settings, self._ledger, self._url, sender)
            self._webhooks = _start_thread("webhooks", dispatcher.run, self._stopped)
        first_round = True
        while True:
            try:
                with broker_errors(self._url):
                    self._round(first=first_round)
                first_round = False
                if self._consumer_alive() and self._health.files_error is None:
                    self._alive_file.touch()
            except TransientError as error:
                self._reaper.redis_was_away()
                self._children.restart_clocks()
                log.warning("%s", error)
            except Exception:  # the next round may succeed; without rounds nothing is reaped
                log.exception("the supervisor's round failed")
            if self._stopped.wait(ROUND_S):
                return

    def _round(self, *, first: bool) -> None:
        self._keep_fingerprint()
        self._children.check(trusted=self._consumer_alive())
        self._count_dropped_messages()
        self._outbox.flush()
        failure_reported = take_failure_report(self._redis, self._name)
        self._health.check(failure_reported=first or failure_reported)
        self._announce_slots()
        self._describe_worker()
        self._reaper.reap()
        self._broker_sweep.sweep()

    def _keep_fingerprint(self) -> None:
        with suppress(OutOfMemoryError):  # the rest of the round must still run
            self._redis.set(self._fingerprint_key, os.getpid(), ex=int(SERVING_S))

    def _count_dropped_messages(self) -> None:
        number, last = dropped.take()
        if number:
            log.error("%d messages dropped, the last: %s", number, last)
            with suppress(OutOfMemoryError):
                self._redis.hincrby(COUNTERS_KEY, MESSAGES_DROPPED, number)

    def _announce_slots(self) -> None:
        """Announce the slots; if there are none, end jobs that waited too long for a worker."""
        if (reason := self._health.reason) is None:
            self._announce(self._settings.concurrency)
            self._out_of_service_since = None
            return
        self._announce(0)
        self._out_of_service_since = self._out_of_service_since or monotonic()
        unserved_s = monotonic() - self._out_of_service_since
        error = f"no worker in service took the job for as long as it waits for one: {reason}"
        for job_id in self._ledger.fail_unserved(self._queues, unserved_s, error):
            log.warning("job %s: waited too long for a worker in service", job_id)

    def _announce(self, slots: int) -> None:
        self._ledger.announce(self._name, self._queues, slots=slots)

    def _describe_worker(self) -> None:
        policy = self._settings.sandbox_policy
        local = "" if policy is SandboxPolicy.DAGGER else f", {self._local_sandbox()}"
        worker = Worker(
            name=self._name,
            slots=self._settings.concurrency,
            sandbox=f"{policy}{local}",
            version=VERSION,
            reason=self._health.reason,
        )
        with suppress(OutOfMemoryError):
            report(self._redis, worker)

    def _local_sandbox(self) -> str:
        confined = self._settings.bubblewrap and bubblewrap.works()
        return "in bubblewrap" if confined else "without bubblewrap"

    def note_consumer_alive(self) -> None:
        """Record that Celery's consumer does not hang."""
        self._consumer_seen_at = monotonic()

    def _consumer_alive(self) -> bool:
        return monotonic() - self._consumer_seen_at < CONSUMER_ALIVE_S

    def cancel_revoked(self, job_id: str) -> None:
        """Cancel a job whose Celery task was revoked: no worker would run it any more."""
        with suppress(PermanentError, TransientError), broker_errors(self._url):
            self._ledger.cancel(job_id)

    def stop(self) -> None:
        """End the rounds, and remove the worker's keys at once."""
        self._stopped.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(STOP_TIMEOUT_S)  # a round that goes on would write the keys again
        if self._webhooks is not None:
            self._webhooks.join(LAST_POSTS_S)
        self._health.close()
        try:
            with broker_errors(self._url):
                self._redis.delete(self._fingerprint_key)
                leave(self._redis, self._name)
                self._announce(0)
        except TransientError as error:
            log.warning("%s", error)

    def drain(self, grace_s: float) -> None:
        """Let Celery finish running jobs; after ``grace_s`` seconds return them to the queue."""
        grace_ends_at = monotonic() + (0 if self._leaving else grace_s)
        self.stop()
        timer = threading.Timer(max(0.0, grace_ends_at - monotonic()), self._end)
        timer.daemon = True
        timer.start()

    def leave(self) -> None:
        """Stop taking jobs, return running jobs to the queue, and end this process."""
        self._leaving = True
        os.kill(os.getpid(), signal.SIGTERM)  # Celery stops consuming, and calls drain
        self._children_ended.wait(2 * END_TIMEOUT_S)
        os._exit(0)  # Celery's own exit takes seconds, and nothing is left to do

    def _end(self) -> None:
        ends_at = monotonic() + END_TIMEOUT_S
        end_children(END_TIMEOUT_S)
        self._children_ended.set()
        sleep(max(0.0, ends_at - monotonic()))
        # A child that was ended while it held a lock of the pool makes Celery wait for ever.
        log.warning("Celery did not end by itself")
        os._exit(0)


def _start_thread(name: str, target: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread
