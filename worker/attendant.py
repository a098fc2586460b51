"""The worker's parent process: says that the worker is here, and returns lost jobs to the queue."""

import logging
import os
import signal
import threading
from contextlib import suppress
from time import monotonic

import psutil
from celery import Celery

from jobs.connection import broker_errors, connect
from jobs.errors import PermanentError, TransientError
from jobs.fingerprint import fingerprint, worker_key
from jobs.job import parse_job
from jobs.ledger import Ledger, State
from jobs.queue import ring
from jobs.settings import Settings

ROUND_S = 5.0
SEEN_S = 15
OVERDUE_S = 30.0
END_TIMEOUT_S = 10.0

log = logging.getLogger("revalid.worker")


class Attendant(threading.Thread):
    """A thread beside Celery's consumer, from ready to shutdown."""

    def __init__(self, settings: Settings, url: str, app: Celery) -> None:
        super().__init__(name="attendant", daemon=True)
        self._url = url
        self._app = app
        self._redis = connect(url)
        self._ledger = Ledger(self._redis)
        self._key = worker_key(fingerprint(settings, os.environ))
        settings.home.mkdir(parents=True, exist_ok=True)
        self._alive = settings.home / "alive"  # its age is what a health check reads
        self._stop_asked = threading.Event()
        self._ended = threading.Event()
        self._hurried = False

    def run(self) -> None:
        """One round every few seconds, until :meth:`stop`."""
        while True:
            try:
                with broker_errors(self._url):
                    self._redis.set(self._key, os.getpid(), ex=SEEN_S)
                    self._reap()
                self._alive.touch()
            except TransientError as error:
                log.warning("%s", error)
            except Exception:  # the next round may do better; without rounds nothing is reaped
                log.exception("the attendant's round failed")
            if self._stop_asked.wait(ROUND_S):
                return

    def stop(self) -> None:
        """Take no part any more; the worker's key goes at once."""
        self._stop_asked.set()
        try:
            with broker_errors(self._url):
                self._redis.delete(self._key)
        except TransientError as error:
            log.warning("%s", error)

    def drain(self, grace_s: float) -> None:
        """Let Celery finish what runs, but after ``grace_s`` seconds return it to the queue."""
        self.stop()
        timer = threading.Timer(0 if self._hurried else grace_s, self._end_children)
        timer.daemon = True
        timer.start()

    def leave(self) -> None:
        """Stop taking jobs, return what runs to the queue, and end this process."""
        self._hurried = True
        os.kill(os.getpid(), signal.SIGTERM)  # Celery stops consuming, and drain is called
        self._ended.wait(2 * END_TIMEOUT_S)
        os._exit(0)  # Celery's own way out takes seconds, and nothing is left to do

    def _end_children(self) -> None:
        """Have each child return its job to the queue and end; by force after a bound."""
        children = [child for child in psutil.Process().children() if _is_pool_child(child)]
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

    def _reap(self) -> None:
        expired, waiting = self._ledger.reap(OVERDUE_S)
        for job_id in (*expired, *waiting):
            try:
                record = self._ledger.record(job_id)
                # Jobs that wait their turn have a doorbell in the queue; an empty one lost some.
                lost = job_id in expired or not self._redis.llen(record.queue)
                if record.state is State.QUEUED and lost:
                    log.warning("job %s: its doorbell rings again", job_id)
                    ring(self._app, parse_job(record.job), record.queue)
            except PermanentError as error:
                log.warning("%s", error)


def _is_pool_child(process: psutil.Process) -> bool:
    """Not multiprocessing's own tracker, which ignores signals and ends with its parent."""
    try:
        return any("spawn_main" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False
