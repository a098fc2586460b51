"""Who takes a batch's jobs: the workers of the user's own broker, or one started for the batch."""

from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import uuid4

from jobs.errors import JobError, WorkerUnavailable
from jobs.job import parse_job
from jobs.queue import queue_name
from jobs.record import State
from jobs.settings import Settings
from producer.client import Client
from producer.embedded import OwnWorker, forget_queues
from producer.submission import Submission

RESTARTS = 5


class BatchCrew:
    """On a broker of the user's own, whatever workers listen there; on the embedded one a worker of
    the batch's own, which is started again where it dies.

    Args:
        settings: As :func:`producer.embedded.attached` gives them.
        concurrency: Slots of that worker; by default ``REVALID_CONCURRENCY``.
    """

    def __init__(self, settings: Settings, client: Client, concurrency: int | None) -> None:
        self._client = client
        self._settings = settings
        self._own: OwnWorker | None = None
        self._left = RESTARTS
        if concurrency is not None:
            self._settings = settings.model_copy(update={"concurrency": concurrency})
        if settings.embedded:
            self._start()

    def send(self, submission: Submission) -> str:
        """Submit a job to these workers; its id."""
        worker = self._own.name if self._own is not None else None
        return self._client.send(submission, worker=worker).id

    def check(self, jobs: list[str]) -> None:
        """See that somebody takes ``jobs``.

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
            self._start()
            self.adopt(jobs)

    def adopt(self, jobs: list[str]) -> None:
        """Have jobs that a worker left behind taken by this one."""
        if self._own is None:
            return
        with self._client.errors():
            for job_id in jobs:
                record = self._client.ledger.record(job_id)
                if record.state is not State.DONE:
                    job = parse_job(record.job)
                    self._client.ledger.submit(job, queue_name(job.lane, self._own.name))

    def _start(self) -> None:
        own = self._settings.model_copy(update={"instance": uuid4().hex, "grace_s": 1.0})
        self._own = OwnWorker(own)
        self._own.wait(self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._own is not None:
            self._own.stop()
            with suppress(JobError):
                forget_queues(self._client, self._own.name)
