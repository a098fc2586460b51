"""Who takes a batch's jobs: the workers of the user's own broker, or one started for the batch."""

import os
from collections.abc import Callable, Iterable
from typing import Self, cast
from uuid import uuid4

from revalid.jobs.errors import WorkerUnavailable
from revalid.jobs.job import parse_job
from revalid.jobs.ledger.keys import job_key
from revalid.jobs.ledger.record import JobState
from revalid.jobs.queue import queue_name
from revalid.jobs.settings import Settings
from revalid.jobs.worker_fingerprint import fingerprint
from revalid.producer.client import Client
from revalid.producer.local.workers import LocalWorker, forget_queues
from revalid.producer.submission import Submission

RESTARTS = 5


class BatchWorkers:
    """On a broker of the user's own, whatever workers listen there; on the embedded one a worker of
    the batch's own, which is started again where it dies.

    Args:
        settings: As :func:`revalid.producer.local.workers.attached` gives them.
        concurrency: Slots of that worker; by default ``REVALID_CONCURRENCY``.
        batch: Id of the batch, which may withdraw its jobs.
    """

    def __init__(
        self, settings: Settings, client: Client, concurrency: int | None, batch: str
    ) -> None:
        self._client = client
        self._settings = settings
        self._batch = batch
        self._own: LocalWorker | None = None
        self._name: str | None = None
        self._sent: list[str] = []
        self._left = RESTARTS
        if concurrency is not None:
            self._settings = settings.model_copy(update={"concurrency": concurrency})

    def start(self, jobs: Iterable[str], waiting: Callable[[], None] = lambda: None) -> None:
        """See that somebody takes jobs, and first those that an earlier process left behind.

        Args:
            waiting: Called again and again while a worker starts.

        Raises:
            WorkerUnavailable: No worker could be started.
        """
        if not self._settings.embedded:
            return
        own = self._settings.model_copy(update={"instance": uuid4().hex, "grace_s": 1.0})
        # From here on send() uses the new name: what came before it is in `_sent`.
        self._name = fingerprint(own, os.environ)
        self._adopt(dict.fromkeys([*jobs, *self._sent]), self._name)
        self._own = LocalWorker(own)
        self._own.wait(self._client, waiting)

    def send(self, submission: Submission) -> str:
        """Submit a job to these workers; its id."""
        while True:
            name = self._name
            job_id = self._client.send(submission, worker=name, run=self._batch).id
            self._sent.append(job_id)
            if name == self._name:  # else its worker died meanwhile
                return job_id

    def check(self, jobs: Iterable[str], waiting: Callable[[], None] = lambda: None) -> None:
        """See that somebody takes ``jobs``.

        Args:
            waiting: As for :meth:`start`.

        Raises:
            WorkerUnavailable: The worker that was started here keeps dying.
        """
        if self._own is None:
            return
        try:
            self._own.check()
        except WorkerUnavailable:
            self._left -= 1
            if self._left < 0:
                raise
            self._own.stop(hurried=True)
            dead = self._own.name
            self.start(jobs, waiting)
            forget_queues(self._client, dead)

    def _adopt(self, ids: Iterable[str], worker: str) -> None:
        with self._client._errors():
            for job_id in ids:
                found = self._client._redis.hmget(job_key(job_id), ["state", "job"])
                state, text = cast("list[str | None]", found)
                if state in (JobState.QUEUED, JobState.RUNNING):
                    job = parse_job(text)
                    queue = queue_name(job.lane, worker)
                    self._client._ledger.submit(job, queue, run=self._batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.end(self._client)
