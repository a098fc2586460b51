"""One child process of a worker: claims a job, runs it while its lease is kept, and records it."""

import asyncio
import logging
import os
import socket
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from celery import Celery
from celery.exceptions import Ignore

from jobs import events
from jobs.blobs import BlobStore
from jobs.connection import broker_errors, connect
from jobs.errors import BrokerUnavailable, JobError, LeaseLost, PermanentError, TransientError
from jobs.job import Job, parse_job
from jobs.ledger import BEAT_S, Attempt, Ledger, Record
from jobs.queue import parse_doorbell, ring
from jobs.result import JobResult, Verdict
from jobs.settings import Settings
from worker.engine import Engine
from worker.runner import Run

MAX_CRASHES = 3
PROGRESS_EVERY_S = 1.0
FINISH_EVERY_S = 1.0
FINISH_TIMEOUT_S = 300.0
"""Seconds that a finished job's result is offered to a broker that does not answer."""

Progress = Callable[[dict[str, Any]], None]
"""Takes a small, safe description of what the job is doing."""

log = logging.getLogger("revalid.worker")


class _Released(Exception):
    """The worker stops, and somebody else shall have the job."""


class Attempts:
    """What a child process holds: Redis, a loop in a thread, and one engine connection.

    Everything is opened with the first job: Celery ends a child that is slow to start.
    """

    def __init__(self, settings: Settings, url: str, app: Celery) -> None:
        self.settings = settings
        self._url = url
        self._app = app
        self._work: asyncio.Task[Verdict] | None = None
        self._releasing = False
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.redis = connect(url)
        self.ledger = Ledger(self.redis, result_ttl_s=settings.result_ttl_s)
        self.blobs = BlobStore.from_settings(connect(url, text=False), settings)
        self._portal_context = start_blocking_portal("asyncio")
        self.portal: BlockingPortal = self._portal_context.__enter__()
        self.engine: Engine = self.portal.call(lambda: Engine(timeout_s=settings.connect_timeout_s))

    def close(self) -> None:
        """Close the engine connection and end the loop."""
        self.portal.call(self.engine.close)
        self._portal_context.__exit__(None, None, None)
        self.redis.close()

    def release(self) -> None:
        """Have the running job return to the queue; for signal handlers."""
        self._releasing = True
        if (work := self._work) is not None:
            work.get_loop().call_soon_threadsafe(work.cancel)

    def answer(self, message: Any, progress: Progress) -> dict[str, Any]:
        """Do what a doorbell asks for; a duplicate one is harmless.

        Returns:
            What Celery's result backend keeps: small, and without any of the job's content.
        """
        try:
            job_id = parse_doorbell(message).job_id
            with broker_errors(self._url):
                attempt = self.ledger.claim(job_id, self.name)
        except PermanentError as error:
            log.error("message refused: %s", error)
            return {"refused": str(error)}
        if attempt is None:
            log.info("job %s: done or under way elsewhere", job_id)
            raise Ignore  # the other attempt's state stands in the result backend
        record = self.ledger.record(job_id)
        if attempt.number - 1 - record.released >= MAX_CRASHES:
            crashed = TransientError(
                f"the job ended its worker {MAX_CRASHES} times: see their logs"
            )
            result = self._record(attempt, _unrun(attempt, record, Verdict.ERRORED, crashed))
        else:
            result = self._attempt(attempt, record, progress)
        if result is None:
            return {"job": job_id, "lost": True}
        failed = result.failed_step
        return {
            "verdict": result.verdict,
            "failed_step": failed.name if failed else None,
            "sandbox": result.sandbox.kind,
            "job": job_id,
        }

    def _attempt(self, attempt: Attempt, record: Record, progress: Progress) -> JobResult | None:
        try:
            job = parse_job(record.job)
        except PermanentError as error:
            return self._record(attempt, _unrun(attempt, record, Verdict.REJECTED, error))
        with tempfile.TemporaryDirectory(
            prefix="revalid-", dir=self.settings.scratch, ignore_cleanup_errors=True
        ) as scratch:
            reports: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
            running = self.portal.start_task_soon(
                self._run, job, attempt, record, Path(scratch), reports.put
            )
            running.add_done_callback(lambda _: reports.put(None))
            self._pass_on(reports, progress)
            try:
                result = running.result()
            except LeaseLost as error:
                log.warning("%s", error)
                return None
            except _Released:
                log.info("job %s: returned to the queue", job.id)
                if self.ledger.release(attempt):
                    ring(self._app, job, self.ledger.record(job.id).queue)
                return None
            finally:
                self._releasing = False
        return self._record(attempt, result)

    def _pass_on(self, reports: "SimpleQueue[dict[str, Any] | None]", progress: Progress) -> None:
        """Report progress until the job ends, on the thread that Celery's task is bound to."""
        last = -PROGRESS_EVERY_S
        while (report := reports.get()) is not None:
            if monotonic() - last >= PROGRESS_EVERY_S:
                last = monotonic()
                try:
                    progress(report)
                except Exception as error:  # nobody sees it, but the job goes on
                    log.warning("progress not reported (%s)", error)

    async def _run(
        self, job: Job, attempt: Attempt, record: Record, scratch: Path, progress: Progress
    ) -> JobResult:
        def emit(type_: str, data: dict[str, Any]) -> None:
            outbox.put_nowait((type_, data))
            if type_ == "step_started":
                progress({"step": data["name"], "index": data["index"]})

        outbox: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        run = Run(
            job=job,
            settings=self.settings,
            environ=dict(os.environ),
            engine=self.engine,
            blobs=self.blobs,
            scratch=scratch,
            artifacts=self.settings.home / "artifacts" / job.id / str(attempt.number),
            emit=emit,
        )
        sender = asyncio.create_task(self._send(job.id, outbox))
        work = self._work = asyncio.create_task(run.execute())
        beat = asyncio.create_task(self._beat(attempt))
        try:
            await asyncio.wait({work, beat}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if work.cancelled() and self._releasing:
                raise _Released
            verdict, error = _judge(work, beat)
        finally:
            self._work = None
            beat.cancel()
            outbox.put_nowait(("", {}))
            await sender
        return _report(run, attempt, record, verdict, error)

    async def _beat(self, attempt: Attempt) -> None:
        """Keep the lease; returns when the job is to be cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                with broker_errors(self._url):
                    if await asyncio.to_thread(self.ledger.beat, attempt):
                        return
            except BrokerUnavailable as error:  # the lease decides, not a blip
                log.warning("job %s: no heartbeat (%s)", attempt.job_id, error)

    async def _send(self, job_id: str, outbox: "asyncio.Queue[tuple[str, dict[str, Any]]]") -> None:
        while True:
            type_, data = await outbox.get()
            if not type_:
                return
            try:
                await asyncio.to_thread(events.append, self.redis, job_id, type_, data)
            except Exception as error:  # an event is a convenience, the result is what counts
                log.warning("job %s: event %s not sent (%s)", job_id, type_, error)

    def _record(self, attempt: Attempt, result: JobResult) -> JobResult | None:
        reusable = result.verdict.judges_project and result.sandbox.fallback_reason is None
        document = result.model_dump_json()
        deadline = monotonic() + FINISH_TIMEOUT_S
        while True:
            try:
                with broker_errors(self._url):
                    self.ledger.finish(attempt, result.verdict, document, reusable=reusable)
                break
            except LeaseLost as error:
                log.warning("%s", error)
                return None
            except BrokerUnavailable as error:
                log.warning("job %s: result not recorded yet (%s)", attempt.job_id, error)
                if monotonic() > deadline:
                    raise
                sleep(FINISH_EVERY_S)
        log.info("job %s: %s", attempt.job_id, result.verdict)
        return result


def _judge(work: "asyncio.Task[Verdict]", beat: "asyncio.Task[None]") -> tuple[Verdict, str | None]:
    if work.cancelled():
        if (lost := beat.exception()) is not None:
            raise lost
        return Verdict.CANCELLED, "cancelled while it ran"
    match work.exception():
        case None:
            return work.result(), None
        case PermanentError() as error:
            return Verdict.REJECTED, str(error)
        case JobError() as error:
            return Verdict.ERRORED, str(error)
        case error:
            log.error("job failed on our side", exc_info=error)
            return Verdict.ERRORED, f"{type(error).__name__} in the worker: see its log"


def _report(
    run: Run, attempt: Attempt, record: Record, verdict: Verdict, error: str | None
) -> JobResult:
    return JobResult(
        id=attempt.job_id,
        verdict=verdict,
        error=run.scrubber.text(error) if error else None,
        sandbox=run.sandbox,
        enforcement=run.enforcement,
        image=run.job.image,
        source=run.source,
        strategy=run.strategy,
        tools=run.tools,
        notes=tuple(run.notes),
        labels=run.job.labels,
        attempts=attempt.number,
        queued_at=record.queued_at,
        started_at=record.started_at,
        finished_at=datetime.now(UTC),
        steps=tuple(run.steps),
    )


def _unrun(attempt: Attempt, record: Record, verdict: Verdict, error: JobError) -> JobResult:
    return JobResult(
        id=attempt.job_id,
        verdict=verdict,
        error=str(error),
        image="",
        attempts=attempt.number,
        queued_at=record.queued_at,
        started_at=record.started_at,
        finished_at=datetime.now(UTC),
    )
