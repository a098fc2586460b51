"""Runs one claimed job until it has a result."""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

from redis import RedisError

from revalid.jobs.connection import broker_errors
from revalid.jobs.errors import BrokerUnavailable
from revalid.jobs.job import Job
from revalid.jobs.ledger.keys import COUNTERS_KEY
from revalid.jobs.ledger.record import Attempt, Record
from revalid.jobs.ledger.stats import ENGINE_LOST
from revalid.jobs.result import JobResult, Verdict
from revalid.worker.engine_health import report_failure
from revalid.worker.event_publisher import EventPublisher
from revalid.worker.heartbeat import keep_lease
from revalid.worker.own_files import check_files, own_fault
from revalid.worker.resources import Resources
from revalid.worker.result_builder import (
    FilesFailed,
    Released,
    build_result,
    classify_outcome,
    files_failed_error,
)
from revalid.worker.run.output import Emit
from revalid.worker.run.runner import Run
from revalid.worker.scratch import scratch_directory
from revalid.worker.verdict_reuse import reusable_result

PROGRESS_EVERY_S = 1.0
FAULTS = 3
"""Attempts that may fail because of workers' own files; after the last, the job is ``errored``."""

ReportProgress = Callable[[dict[str, Any]], None]
"""A function that gets a small description of the running step, without the job's content."""

log = logging.getLogger("revalid.worker")


class ClaimedJob:
    """Runs one claimed job while its lease is kept.

    Args:
        worker: Name of the worker's parent process in the ledger.
    """

    def __init__(
        self, resources: Resources, worker: str, job: Job, attempt: Attempt, record: Record
    ) -> None:
        self._resources = resources
        self._worker = worker
        self._job = job
        self._attempt = attempt
        self._record = record
        self._request_release: Callable[[], object] | None = None
        self._reused: JobResult | None = None

    def release(self) -> None:
        """End :meth:`run`, so that the job can return to the queue; for signal handlers."""
        if (request_release := self._request_release) is not None:
            request_release()

    def run(self, report_progress: ReportProgress) -> JobResult:
        """Run the job on the event loop, and report its progress from this thread.

        Raises:
            LeaseLost: Another attempt owns the job.
            FilesFailed: The worker's own files failed; the job may run again.
            Released: The job must return to the queue for another reason.
        """
        engine = self._resources.engine
        sessions_lost_before = engine.sessions_lost
        with scratch_directory(self._resources.settings.scratch) as scratch:
            reports: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
            running = self._resources.event_loop.start_task_soon(
                self._run_while_leased, scratch, reports.put
            )
            running.add_done_callback(lambda _: reports.put(None))
            _pass_on(reports, report_progress)
            try:
                return running.result()
            finally:
                self._count_lost_sessions(engine.sessions_lost - sessions_lost_before)

    async def _run_while_leased(self, scratch: Path, put_report: ReportProgress) -> JobResult:
        """Run the steps until they end, or until a cancel, a lost lease or a release ends them."""
        events = EventPublisher(self._resources.ledger, self._attempt)

        def emit(type_: str, data: dict[str, Any]) -> None:
            events.put(type_, data)
            if type_ == "step_started":
                put_report({"step": data["name"], "index": data["index"]})

        run = self._make_run(scratch, emit)
        work = asyncio.create_task(self._reuse_or_execute(run))
        heartbeat = asyncio.create_task(
            keep_lease(self._resources.ledger, self._attempt, self._resources.url)
        )
        released = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._request_release = partial(loop.call_soon_threadsafe, released.set)
        tasks = {work, heartbeat, asyncio.create_task(released.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
                if released.is_set() and work.cancelled():
                    raise Released("its worker stops")
            verdict, error = classify_outcome(work, heartbeat)
            if (fault := await self._own_fault(work, verdict)) is not None:
                if self._record.faults + 1 < FAULTS:
                    raise FilesFailed(fault)
                verdict, error = Verdict.ERRORED, files_failed_error(fault, FAULTS)
        finally:
            self._request_release = None
            for task in tasks:
                task.cancel()
            await events.finish()
        return self._reused or build_result(run, self._attempt, self._record, verdict, error)

    def _make_run(self, scratch: Path, emit: Emit) -> Run:
        settings = self._resources.settings
        return Run(
            job=self._job,
            settings=settings,
            environ=dict(os.environ),
            engine=self._resources.engine,
            blobs=self._resources.projects,
            kept=self._resources.artifacts,
            scratch=scratch,
            artifacts=settings.home / "artifacts" / self._job.id / str(self._attempt.number),
            emit=emit,
            engine_missing=lambda: asyncio.to_thread(self._report_missing_engine),
        )

    async def _reuse_or_execute(self, run: Run) -> Verdict:
        """Reuse the result of an earlier run if it is still valid; otherwise run the steps."""
        self._reused = await reusable_result(
            self._record.prior,
            self._job,
            self._resources.settings,
            os.environ,
            self._resources.ledger,
            self._resources.engine,
        )
        return self._reused.verdict if self._reused else await run.execute()

    async def _own_fault(self, work: "asyncio.Task[Verdict]", verdict: Verdict) -> str | None:
        """Return how the worker's own files kept the job from passing; None if they did not.

        A fault of these files may have failed a command. The job's own files are removed by now,
        so a job that filled the disk alone is not excused.
        """
        if verdict not in (Verdict.FAILED, Verdict.ERRORED, Verdict.REJECTED):
            return None
        fault = own_fault(work.exception())
        return fault or await asyncio.to_thread(check_files, self._resources.settings)

    def _report_missing_engine(self) -> None:
        """Ask the worker's parent to check the engine.

        Raises:
            Released: The parent takes no jobs meanwhile, and other workers serve the job's queue.
        """
        try:
            with broker_errors(self._resources.url):
                report_failure(self._resources.redis, self._worker)
                serving = self._resources.ledger.serving(self._record.queue)
        except BrokerUnavailable as error:
            log.warning("%s", error)
            return
        if serving and self._worker not in serving:
            raise Released("its worker has no engine")

    def _count_lost_sessions(self, number: int) -> None:
        if number:
            with suppress(RedisError):
                self._resources.redis.hincrby(COUNTERS_KEY, ENGINE_LOST, number)


def _pass_on(
    reports: "SimpleQueue[dict[str, Any] | None]", report_progress: ReportProgress
) -> None:
    """Report progress until the job ends; on this thread, because Celery's task is bound to it."""
    last_report = -PROGRESS_EVERY_S
    while (report := reports.get()) is not None:
        if monotonic() - last_report >= PROGRESS_EVERY_S:
            last_report = monotonic()
            try:
                report_progress(report)
            except Exception as error:  # progress is only shown; the job goes on
                log.warning("progress not reported (%s)", error)
