"""The client for web backends and scripts: submits, follows and cancels jobs, and reads results."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from time import monotonic, sleep
from typing import Self, Unpack

from celery import Celery
from pydantic import ValidationError

from revalid.jobs import events
from revalid.jobs.connection import broker_errors, connect
from revalid.jobs.errors import InvalidJob, InvalidSettings, ResultTimeout, UnknownJob
from revalid.jobs.job import Job, parse_job
from revalid.jobs.ledger.keys import request_key
from revalid.jobs.ledger.record import JobState, Record, SubmitOutcome
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.projects.budget import reserve
from revalid.jobs.queue import make_app, open_ledger, queue_name
from revalid.jobs.reported_steps import steps_from_events
from revalid.jobs.result import JobResult, Verdict
from revalid.jobs.settings import Settings, load_settings
from revalid.jobs.source import TarballSource
from revalid.producer.options import SubmitOptions
from revalid.producer.submission import Submission, prepare

CANCEL_TIMEOUT_S = 15.0
IDEMPOTENCY_S = 86_400
"""Seconds for which an idempotency key refers to its first request."""
_POLL_S = 0.05
_AT_ONCE = 500
_FROM_EVENTS = "attempt {} recorded no result: steps and output are those that it sent while it ran"


def decode_result(
    job_id: str, record: Record, *, reused: bool = False, job_events: Sequence[events.Event] = ()
) -> JobResult:
    """Return the result of a done job.

    Args:
        job_events: The job's events; they supply the steps if the last attempt recorded no result.

    Raises:
        InvalidJob: The result was written by a version that this one cannot read.
    """
    if record.result is not None:
        try:
            result = JobResult.model_validate_json(record.result)
        except ValidationError:
            raise InvalidJob(
                f"job {job_id}: its result is of another version of revalid: upgrade this one",
                job_id=job_id,
            ) from None
        return result.model_copy(update={"reused": True}) if reused else result
    job = parse_job(record.job)  # the job ended without a result
    steps = steps_from_events(job_events)
    assert record.verdict is not None  # noqa: S101
    assert record.finished_at is not None  # noqa: S101
    return JobResult(
        id=job_id,
        verdict=record.verdict,
        error=record.error,
        image=job.image,
        notes=(_FROM_EVENTS.format(record.attempts),) if steps else (),
        labels=job.labels,
        attempts=record.attempts,
        queued_at=record.queued_at,
        queued_s=record.queued_s,
        started_at=None if record.waits_since else record.started_at,
        finished_at=record.finished_at,
        steps=steps,
    )


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state of a job; :meth:`JobHandle.result` returns its result.

    Attributes:
        verdict: How the job ended; None until then.
        queue: The Celery queue in which the job waits or waited.
        error: Why the job ended without a result, or None.
        attempts: Number of times that a worker has claimed the job.
        released: Number of attempts whose worker gave the job back.
        worker: The worker that has the job or had it last; empty before the first claim.
        cancelling: Whether the job was cancelled and has not ended yet.
        queued_s: Seconds that the job waited, summed over all attempts.
        started_at: When the last attempt began; None while the job waits.
    """

    id: str
    state: JobState
    verdict: Verdict | None
    error: str | None
    attempts: int
    released: int
    queue: str
    worker: str
    cancelling: bool
    queued_at: datetime
    queued_s: float
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def from_record(cls, job_id: str, record: Record) -> Self:
        """Make a status from the ledger's record."""
        return cls(
            id=job_id,
            state=record.state,
            verdict=record.verdict,
            error=record.error,
            attempts=record.attempts,
            released=record.released,
            queue=record.queue,
            worker=record.worker,
            cancelling=record.cancelled and record.state is not JobState.DONE,
            queued_at=record.queued_at,
            queued_s=record.queued_s,
            started_at=None if record.waits_since else record.started_at,
            finished_at=record.finished_at,
        )


@dataclass(frozen=True, slots=True)
class JobHandle:
    """A submitted job.

    Attributes:
        outcome: Whether submit created the job, joined a running one or reused a verdict. None for
            a handle from :meth:`Client.job`.
    """

    id: str
    client: "Client" = field(repr=False)
    outcome: SubmitOutcome | None = None

    def _record(self) -> Record:
        with self.client._errors():
            return self.client._ledger.record(self.id)

    def status(self) -> JobStatus:
        """Return the job's current state.

        Raises:
            UnknownJob: No job has this id.
        """
        return JobStatus.from_record(self.id, self._record())

    def events(
        self, after: str = "0", *, idle: Callable[[], object] = lambda: None
    ) -> Iterator[events.Event]:
        """Yield the job's events after an event id, until the job is done.

        Args:
            after: Id of the last event seen; 0 starts with the first one.
            idle: Called every few seconds while nothing happens.

        Raises:
            InvalidJob: ``after`` is not an event id.
            UnknownJob: No job has this id.
        """
        events.check_position(after)
        done = self.status().state is JobState.DONE
        while True:
            with self.client._errors():
                new_events = events.read(
                    self.client._redis, self.id, after, block_s=0 if done else events.BLOCK_S
                )
            for event in new_events:
                after = event.id
                yield event
                if event.last:
                    return
            if not new_events:
                if done:  # the caller has seen the last event
                    return
                idle()
                done = self.status().state is JobState.DONE

    def result(
        self, timeout_s: float | None = None, *, idle: Callable[[], object] = lambda: None
    ) -> JobResult:
        """Wait for the job and return its result.

        Args:
            timeout_s: Seconds to wait; None waits for ever.
            idle: Called every few seconds while nothing happens.

        Raises:
            ResultTimeout: The job was not done after ``timeout_s`` seconds.
            UnknownJob: No job has this id.
        """
        deadline = None if timeout_s is None else monotonic() + timeout_s
        with self.client._errors():
            after = "0"
            while (record := self.client._ledger.record(self.id)).state is not JobState.DONE:
                left = events.BLOCK_S if deadline is None else deadline - monotonic()
                if left <= 0:
                    raise ResultTimeout(
                        f"job {self.id} is still {record.state}: wait longer", job_id=self.id
                    )
                new_events = events.read(self.client._redis, self.id, after, block_s=left)
                if not new_events:
                    idle()
                for event in new_events:
                    after = event.id
        return self.client.decode(self.id, record, reused=self.outcome is SubmitOutcome.REUSED)

    def cancel(self) -> JobState:
        """Cancel the job; return the state that it was in. A done job stays as it is.

        Raises:
            UnknownJob: No job has this id.
        """
        with self.client._errors():
            return self.client._ledger.cancel(self.id)


class Client:
    """A client of one broker. Threads may share it.

    Args:
        settings: The settings; by default they are read from the environment and ``.env``.
        url: URL of the broker, such as ``redis://localhost:6379/0``; by default the one in the
            settings.

    Raises:
        InvalidSettings: No broker is set, or a setting is wrong.
    """

    def __init__(self, settings: Settings | None = None, *, url: str | None = None) -> None:
        self.settings = settings or load_settings()
        if url is not None:
            self.settings = self.settings.model_copy(update={"broker_url": url})
        if self.settings.broker_url is None:
            raise InvalidSettings(
                "REVALID_BROKER_URL is not set: set it to a Redis URL, pass Client(url=...), or "
                "run `revalid broker start` and use the URL that it prints"
            )
        self.url = self.settings.broker_url
        self._redis = connect(self.url)
        self._raw = connect(self.url, text=False)
        self._app: Celery = make_app(self.settings, self.url)
        self._ledger = open_ledger(self.settings, self._redis, self._app)
        self._blobs = BlobStore.from_settings(self._raw, self.settings)

    def submit(
        self,
        project: Path | str | bytes | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> JobHandle:
        """Submit a project: a directory, an archive file or an archive's bytes.

        The options are those of :class:`.SubmitOptions`. If an identical job is queued or
        running, the handle refers to that job. If an identical job passed or failed, the handle
        has its verdict. ``fresh=True`` always makes a new job.

        Args:
            idempotency_key: A key that makes it safe to repeat the request. For a day, the same key
                with the same request gives the same job, however that job ended. The same key with
                another request is an error.

        Raises:
            PermanentError: The job or the project is wrong; nothing was stored.
            BrokerUnavailable: The broker cannot be reached or is full.
            QueueFull: The limit of queued jobs is reached.
            StoreFull: The limit of project bytes in Redis is reached; nothing was stored.
        """
        source = Path(project) if isinstance(project, str) else project
        if idempotency_key is not None and (options.get("fresh") or options.get("on_worker")):
            # With a random nonce each repetition would be another request.
            nonce = hashlib.sha256(idempotency_key.encode()).hexdigest()
            options = {"nonce": nonce, **options}
        with prepare(self.settings, source, **options) as submission:
            if idempotency_key is not None and self._repeats(submission, idempotency_key):
                with suppress(UnknownJob):  # the first try stored the key and no job
                    return self._again(submission.job)
            return self.send(submission)

    def _repeats(self, submission: Submission, key: str) -> bool:
        """Return whether this request came with this key before.

        If two requests come at the same time, one of them counts as the first.
        """
        job = submission.job
        scope = hashlib.sha256(f"{job.tenant} {key}".encode()).hexdigest()
        content = job.model_dump_json() + (submission.webhook or "")
        request = hashlib.sha256(content.encode()).hexdigest()
        with self._errors():
            first = self._redis.set(
                request_key(scope), request, ex=IDEMPOTENCY_S, nx=True, get=True
            )
        if first not in (None, request):
            raise InvalidJob(
                f"idempotency key {key[:80]!r}: it was used for another request: use a new key"
            )
        return first is not None

    def _again(self, job: Job) -> JobHandle:
        done = (handle := self.job(job.id)).status().state is JobState.DONE
        return replace(handle, outcome=SubmitOutcome.REUSED if done else SubmitOutcome.JOINED)

    def send(
        self, submission: Submission, *, worker: str | None = None, run: str = ""
    ) -> JobHandle:
        """Store and queue a submission that :func:`.prepare` made.

        Args:
            worker: Fingerprint of the workers that may take the job; any by default.
            run: Id of the run that may withdraw the job; see :meth:`.Ledger.submit`.

        Raises:
            BrokerUnavailable: The broker cannot be reached or is full.
            QueueFull: The limit of queued jobs is reached.
            StoreFull: The limit of project bytes in Redis is reached; nothing was stored.
            ResultTimeout: An identical job is being cancelled and did not end in time.
        """
        job = submission.job
        queue = queue_name(job.lane, worker)
        with self._errors():
            self._store(submission)
            deadline = monotonic() + CANCEL_TIMEOUT_S
            while not (outcome := self._submit(submission, queue, run)).accepted:
                if monotonic() > deadline:
                    why = "is being cancelled"
                    if outcome is SubmitOutcome.NOT_STORED:
                        why = "has a project that Redis drops again"
                    raise ResultTimeout(
                        f"job {job.id} {why}: submit it again later",
                        job_id=job.id,
                        retry_after_s=CANCEL_TIMEOUT_S,
                    )
                sleep(_POLL_S)
                self._store(submission)
        return JobHandle(job.id, self, outcome)

    def _submit(self, submission: Submission, queue: str, run: str) -> SubmitOutcome:
        job, webhook, shown = submission.job, submission.webhook, submission.shown
        return self._ledger.submit(job, queue, webhook, run=run, shown=shown)

    def send_all(
        self, submissions: Sequence[Submission], *, worker: str | None = None
    ) -> list[JobHandle]:
        """Store and queue many open submissions, hundreds in one round trip.

        Raises:
            BrokerUnavailable, QueueFull, StoreFull, ResultTimeout: As :meth:`send`. Some of the
                jobs may be queued already; sending all of them again joins those.
        """
        handles: list[JobHandle] = []
        for queue, run in groupby(submissions, lambda item: queue_name(item.job.lane, worker)):
            group = list(run)
            for at in range(0, len(group), _AT_ONCE):
                chunk = group[at : at + _AT_ONCE]
                with self._errors():
                    for submission in chunk:
                        self._store(submission)
                    jobs = [submission.job for submission in chunk]
                    hooks = [submission.webhook for submission in chunk]
                    shown = [submission.shown for submission in chunk]
                    outcomes = self._ledger.submit_all(jobs, queue, hooks, shown)
                handles += (
                    JobHandle(submission.job.id, self, outcome)
                    if outcome.accepted
                    else self.send(submission, worker=worker)
                    for submission, outcome in zip(chunk, outcomes, strict=True)
                )
        return handles

    def _store(self, submission: Submission) -> None:
        job = submission.job
        stored = ((submission.tarball, job.source), (submission.overlay, job.overlay))
        for file, source in stored:
            if file is None or not isinstance(source, TarballSource):
                continue
            digest, size = source.digest, source.size_bytes
            if self._blobs.in_redis(size):
                most = self.settings.tenant_blob_bytes
                reserve(self._ledger, job.tenant, digest, size, most=most, job_id=job.id)
            file.seek(0)
            self._blobs.put(file, digest, size)

    def decode(self, job_id: str, record: Record, *, reused: bool = False) -> JobResult:
        """Return the result of a done job, as :func:`decode_result`; read its events if needed."""
        job_events: list[events.Event] = []
        if record.result is None and record.attempts:
            with self._errors():
                job_events = events.read_all(self._redis, job_id)
        return decode_result(job_id, record, reused=reused, job_events=job_events)

    def job(self, job_id: str) -> JobHandle:
        """Return a handle of a job that this or another process submitted."""
        return JobHandle(job_id, self)

    def events(self, job_id: str, after: str = "0") -> Iterator[events.Event]:
        """Yield the events of a job after an event id, as :meth:`JobHandle.events`."""
        return self.job(job_id).events(after)

    def ping(self) -> None:
        """Raise :class:`.BrokerUnavailable` if the broker does not answer."""
        with self._errors():
            self._redis.ping()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert Redis's failures to this project's errors."""
        with broker_errors(self.url):
            yield

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._raw.close()
        self._app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
