"""Provides workers for a batch: those of the user's broker, or one started for the batch."""

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
    """The workers that run a batch's jobs.

    On a broker of the user, these are the workers of that broker. On the embedded broker, it is one
    worker that is started for the batch, and restarted if it dies.

    Args:
        settings: Settings from :func:`revalid.producer.local.workers.attached`.
        concurrency: Slots of the started worker; ``REVALID_CONCURRENCY`` by default.
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
        """Start a worker if needed; it first takes jobs that an earlier process left behind.

        Args:
            jobs: Ids of these jobs.
            waiting: Called repeatedly while the worker starts.

        Raises:
            WorkerUnavailable: No worker could be started.
        """
        if not self._settings.embedded:
            return
        own = self._settings.model_copy(update={"instance": uuid4().hex, "grace_s": 1.0})
        # From here on send() uses the new name; earlier jobs are in `_sent`.
        self._name = fingerprint(own, os.environ)
        self._adopt(dict.fromkeys([*jobs, *self._sent]), self._name)
        self._own = LocalWorker(own)
        self._own.wait(self._client, waiting)

    def send(self, submission: Submission) -> str:
        """Submit a job to these workers; return its id."""
        while True:
            name = self._name
            job_id = self._client.send(submission, worker=name, run=self._batch).id
            self._sent.append(job_id)
            if name == self._name:  # otherwise the worker died meanwhile
                return job_id

    def check(self, jobs: Iterable[str], waiting: Callable[[], None] = lambda: None) -> None:
        """Restart the worker if it died, and hand ``jobs`` to the new one.

        Args:
            waiting: As for :meth:`start`.

        Raises:
            WorkerUnavailable: The worker died too often.
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
                fields = self._client._redis.hmget(job_key(job_id), ["state", "job"])
                state, text = cast("list[str | None]", fields)
                if state in (JobState.QUEUED, JobState.RUNNING):
                    job = parse_job(text)
                    queue = queue_name(job.lane, worker)
                    self._client._ledger.submit(job, queue, run=self._batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.end(self._client)
