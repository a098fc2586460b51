"""One child process of a worker: claims a job, runs it while its lease is kept, and records it."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, sleep
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from celery import Celery
from celery.exceptions import Ignore
from redis import RedisError
from structlog.contextvars import bound_contextvars

from revalid.jobs.connection import broker_errors, connect
from revalid.jobs.errors import BrokerUnavailable, InvalidJob, LeaseLost, PermanentError
from revalid.jobs.job import Job, parse_job
from revalid.jobs.ledger.keys import COUNTERS_KEY, failure_key
from revalid.jobs.ledger.ledger import BEAT_S
from revalid.jobs.ledger.record import Attempt, Record
from revalid.jobs.ledger.stats import ENGINE_LOST
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.queue import open_ledger, parse_doorbell
from revalid.jobs.result import JobResult, Verdict
from revalid.jobs.settings import Settings
from revalid.jobs.signing import Signed, check_signature
from revalid.worker.event_publisher import EventSender
from revalid.worker.outbox import Outbox
from revalid.worker.own_files import check_files, own_fault
from revalid.worker.result_builder import (
    FilesFailed,
    Released,
    build_result,
    build_unstarted_result,
    classify_outcome,
)
from revalid.worker.run.runner import Run
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.scratch import scratch_directory
from revalid.worker.secrets import name_key
from revalid.worker.tracing import attempt_span, record_verdict, start_tracing, stop_tracing
from revalid.worker.verdict_reuse import confirm_verdict

PROGRESS_EVERY_S = 1.0
FINISH_EVERY_S = 1.0
FINISH_TIMEOUT_S = 60.0
"""Seconds that a finished job's result is offered to a broker that does not answer; then it waits
in the outbox, and the slot is free."""

FAULTS = 3
"""Attempts of a job that workers' own files may fail; with the last it is ``errored``."""
WITHDRAW_TIMEOUT_S = 5.0
"""Seconds that a job is held back for its worker to take no more, before it is returned."""

Progress = Callable[[dict[str, Any]], None]
"""Takes a small, safe description of what the job is doing."""

log = logging.getLogger("revalid.worker")


START = "_REVALID_START"
"""The variable by which a worker's children know which start of it is theirs."""


def process_name(pid: int) -> str:
    """What the ledger calls a process of this worker, and no other ever.

    Two containers may have one host name, and the same process ids.
    """
    start = os.environ.setdefault(START, secrets.token_hex(4))
    return f"{socket.gethostname()}:{pid}-{start}"


class JobExecutor:
    """What a child process holds: Redis, a loop in a thread, and one engine connection.

    Everything is opened with the first job: Celery ends a child that is slow to start.
    """

    def __init__(self, settings: Settings, url: str, app: Celery) -> None:
        self.settings = settings
        self._url = url
        self._app = app
        self._releases: Callable[[], object] | None = None
        self.name = process_name(os.getpid())
        self._worker = process_name(os.getppid())
        self.redis = connect(url)
        self.ledger = open_ledger(settings, self.redis, app)
        self.outbox = Outbox(settings.home, self.ledger, url)
        raw = connect(url, text=False)
        self.blobs = BlobStore.from_settings(raw, settings)
        self.kept = BlobStore.of_artifacts(raw, settings)
        start_tracing()
        self._portal_context = start_blocking_portal("asyncio")
        self.portal: BlockingPortal = self._portal_context.__enter__()
        self.engine: Engine = self.portal.call(
            partial(
                Engine,
                timeout_s=settings.connect_timeout_s,
                on_resolved=self._resolved,
                name_key=name_key(settings.home),
                tools_image=settings.tools_image,
            )
        )

    def close(self) -> None:
        """Close the engine connection and end the loop."""
        self.portal.call(self.engine.close)
        self._portal_context.__exit__(None, None, None)
        self.redis.close()
        stop_tracing()

    def release(self) -> None:
        """Have the running job return to the queue; for signal handlers."""
        if (releases := self._releases) is not None:
            releases()

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
        with bound_contextvars(job_id=job_id, attempt=attempt.number):
            try:
                with broker_errors(self._url):
                    record = self.ledger.record(job_id)
                result = self._attempt(attempt, record, progress)
            except BrokerUnavailable as error:
                log.warning("job %s: %s", job_id, error)
                with suppress(RedisError):
                    self.ledger.release(attempt, "its worker lost Redis")
                result = None
        if result is None:
            return {"job": job_id, "lost": True}
        return {
            "verdict": result.verdict,
            "failed_step": result.failed_step,
            "sandbox": result.sandbox.kind,
            "job": job_id,
        }

    def _attempt(self, attempt: Attempt, record: Record, progress: Progress) -> JobResult | None:
        try:
            check_signature(self.settings.signing_key, Signed.RECORD, record.job, record.signature)
            job = parse_job(record.job)
            if job.id != attempt.job_id:
                raise InvalidJob(f"the record of job {attempt.job_id} holds another: {job.id}")
            with (
                bound_contextvars(tenant=job.tenant),
                attempt_span(job, attempt, record) as span,
            ):
                result = self._work(job, attempt, record, progress)
                record_verdict(span, result)
                return result
        except PermanentError as error:
            return self._record(
                attempt, build_unstarted_result(attempt, record, Verdict.REJECTED, str(error))
            )
        except FilesFailed as fault:
            return self._give_back(attempt, record, str(fault))
        except (OSError, MemoryError) as error:
            return self._give_back(attempt, record, own_fault(error) or str(error))

    def _give_back(self, attempt: Attempt, record: Record, fault: str) -> JobResult | None:
        """Return a job to the queue once this worker takes no more, or else might have it again."""
        if record.faults + 1 >= FAULTS:
            return self._record(
                attempt, build_unstarted_result(attempt, record, Verdict.ERRORED, _failed(fault))
            )
        log.warning("job %s: returned, its worker's files fail: %s", attempt.job_id, fault)
        with broker_errors(self._url):
            with suppress(RedisError):
                self.redis.set(failure_key(self._worker), 1, ex=600)
            deadline = monotonic() + WITHDRAW_TIMEOUT_S
            while self._worker in self.ledger.serving(record.queue) and monotonic() < deadline:
                sleep(0.1)
            self.ledger.release(attempt, f"its worker's files fail: {fault}", fault=True)
        return None

    def _work(
        self, job: Job, attempt: Attempt, record: Record, progress: Progress
    ) -> JobResult | None:
        sessions_lost = self.engine.sessions_lost
        with scratch_directory(self.settings.scratch) as scratch:
            reports: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
            running = self.portal.start_task_soon(
                self._run, job, attempt, record, scratch, reports.put
            )
            running.add_done_callback(lambda _: reports.put(None))
            self._pass_on(reports, progress)
            try:
                result = running.result()
            except LeaseLost as error:
                log.warning("%s", error)
                return None
            except FilesFailed:
                raise
            except Released as reason:
                log.info("job %s: returned to the queue, %s", job.id, reason)
                with broker_errors(self._url):
                    self.ledger.release(attempt, str(reason))
                return None
            finally:
                if lost := self.engine.sessions_lost - sessions_lost:
                    with suppress(RedisError):
                        self.redis.hincrby(COUNTERS_KEY, ENGINE_LOST, lost)
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
            events.put(type_, data)
            if type_ == "step_started":
                progress({"step": data["name"], "index": data["index"]})

        events = EventSender(self.ledger, attempt)
        run = Run(
            job=job,
            settings=self.settings,
            environ=dict(os.environ),
            engine=self.engine,
            blobs=self.blobs,
            kept=self.kept,
            scratch=scratch,
            artifacts=self.settings.home / "artifacts" / job.id / str(attempt.number),
            emit=emit,
            engine_missing=lambda: asyncio.to_thread(self._engine_missing, record.queue),
        )
        settings = self.settings
        confirmed: JobResult | None = None

        async def confirm_or_execute() -> Verdict:
            nonlocal confirmed
            confirmed = await confirm_verdict(record.prior, job, settings, self.ledger, self.engine)
            return confirmed.verdict if confirmed else await run.execute()

        work = asyncio.create_task(confirm_or_execute())
        beat = asyncio.create_task(self._beat(attempt))
        released = asyncio.Event()
        self._releases = partial(asyncio.get_running_loop().call_soon_threadsafe, released.set)
        ends = {work, beat, asyncio.create_task(released.wait())}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
                if released.is_set() and work.cancelled():
                    raise Released("its worker stops")
            verdict, error = classify_outcome(work, beat)
            if (fault := await self._fault(work, verdict)) is not None:
                if record.faults + 1 < FAULTS:
                    raise FilesFailed(fault)
                verdict, error = Verdict.ERRORED, _failed(fault)
        finally:
            self._releases = None
            for end in ends:
                end.cancel()
            await events.finish()
        return confirmed or build_result(run, attempt, record, verdict, error)

    async def _fault(self, work: "asyncio.Task[Verdict]", verdict: Verdict) -> str | None:
        """What of the worker's own files kept the job from passing, also where a command said so.

        What the job wrote is gone by now: it is to blame where that alone had filled the disk.
        """
        if verdict not in (Verdict.FAILED, Verdict.ERRORED, Verdict.REJECTED):
            return None
        return own_fault(work.exception()) or await asyncio.to_thread(check_files, self.settings)

    def _resolved(self, image: str, digest: str) -> None:
        with suppress(RedisError):  # then a submit asks for it to be looked up again
            self.ledger.resolved(image, digest)

    def _engine_missing(self, queue: str) -> None:
        """Have the worker's parent look at the engine.

        Raises:
            Released: The parent takes no jobs meanwhile, and others serve the job's queue.
        """
        try:
            with broker_errors(self._url):
                self.redis.set(failure_key(self._worker), 1, ex=600)
                serving = self.ledger.serving(queue)
        except BrokerUnavailable as error:
            log.warning("%s", error)
            return
        if serving and self._worker not in serving:
            raise Released("its worker has no engine")

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

    def _record(self, attempt: Attempt, result: JobResult) -> JobResult | None:
        letter = self.outbox.put(attempt, result)
        deadline = monotonic() + FINISH_TIMEOUT_S
        while True:
            try:
                recorded = self.outbox.deliver(letter)
                break
            except BrokerUnavailable as error:
                log.warning("job %s: result not recorded yet (%s)", attempt.job_id, error)
                if monotonic() > deadline:
                    return None
                sleep(FINISH_EVERY_S)
        log.info("job %s: %s", attempt.job_id, result.verdict)
        return result if recorded else None


def _failed(fault: str) -> str:
    return (
        f"workers' own files failed the job {FAULTS} times, last: {fault}; free their disks, raise "
        "their limit of open files, or correct REVALID_SCRATCH and REVALID_HOME"
    )
