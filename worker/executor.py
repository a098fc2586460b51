"""Executes the job that a doorbell names: claims it, runs it, and records its result."""

import logging
import os
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

from celery import Celery
from celery.exceptions import Ignore
from redis import RedisError
from structlog.contextvars import bound_contextvars

from revalid.jobs.connection import broker_errors
from revalid.jobs.errors import BrokerUnavailable, InvalidJob, LeaseLost, PermanentError
from revalid.jobs.job import Job, parse_job
from revalid.jobs.ledger.record import Attempt, Record
from revalid.jobs.queue import parse_doorbell
from revalid.jobs.result import JobResult, Verdict
from revalid.jobs.settings import Settings
from revalid.jobs.signing import Signed, check_signature
from revalid.worker.claimed_job import FAULTS, ClaimedJob, ReportProgress
from revalid.worker.engine_health import report_failure
from revalid.worker.own_files import own_fault
from revalid.worker.process_names import process_name
from revalid.worker.resources import Resources
from revalid.worker.result_builder import (
    FilesFailed,
    Released,
    build_unstarted_result,
    files_failed_error,
    report_fault,
)
from revalid.worker.task_outcome import not_passed, outcome
from revalid.worker.tracing import attempt_span, record_verdict

WITHDRAW_TIMEOUT_S = 5.0
"""Seconds to keep a job until the worker has stopped taking jobs; then it returns to the queue."""

log = logging.getLogger("revalid.worker")


class JobExecutor:
    """Executes one job at a time in a child process."""

    def __init__(self, settings: Settings, url: str, app: Celery) -> None:
        self._resources = Resources(settings, url, app)
        self._ledger = self._resources.ledger
        self._url = url
        self._name = process_name(os.getpid())
        self._worker = process_name(os.getppid())
        self._claimed: ClaimedJob | None = None

    def close(self) -> None:
        """Close every connection."""
        self._resources.close()

    def release(self) -> None:
        """Make the running job return to the queue; for signal handlers."""
        if (claimed := self._claimed) is not None:
            claimed.release()

    def execute(self, message: Any, report_progress: ReportProgress) -> dict[str, Any]:
        """Execute the job that a doorbell names, from claim to record; a duplicate is harmless.

        Raises:
            JobNotPassed: The verdict is not ``passed``, or the message is refused.
            Ignore: Another attempt reports the outcome of the job.
        """
        try:
            attempt = self._claim(parse_doorbell(message).job_id)
        except PermanentError as error:
            log.error("message refused: %s", error)
            raise not_passed("refused", str(error), {"refused": str(error)}) from None
        with bound_contextvars(job_id=attempt.job_id, attempt=attempt.number):
            try:
                result = self._execute(attempt, report_progress)
            except BrokerUnavailable as error:
                log.warning("job %s: %s", attempt.job_id, error)
                with suppress(RedisError):
                    self._ledger.release(attempt, "its worker lost Redis")
                result = None
        if result is None:
            raise Ignore  # the attempt that has a verdict reports it
        return outcome(result)

    def _claim(self, job_id: str) -> Attempt:
        """Claim the job.

        Raises:
            Ignore: The job is done or running elsewhere; Celery keeps the state of that attempt.
            JobNotPassed: The job ended while it waited, so no attempt reports its outcome.
        """
        with broker_errors(self._url):
            attempt = self._ledger.claim(job_id, self._name)
        if attempt is None:
            log.info("job %s: done or under way elsewhere", job_id)
            with broker_errors(self._url):
                record = self._ledger.record(job_id)
            if record.verdict is not None and record.result is None:
                small = {"verdict": record.verdict, "job": job_id}
                raise not_passed(record.verdict, record.error or "", small)
            raise Ignore
        return attempt

    def _execute(self, attempt: Attempt, report_progress: ReportProgress) -> JobResult | None:
        """Execute a claimed job; return None if another attempt has it or will have it."""
        with broker_errors(self._url):
            record = self._ledger.record(attempt.job_id)
        try:
            job = self._check_record(attempt, record)
            with bound_contextvars(tenant=job.tenant), attempt_span(job, attempt, record) as span:
                result = self._run(job, attempt, record, report_progress)
                result = self._record(attempt, result) if result else None
                record_verdict(span, result)
                return result
        except PermanentError as error:
            rejected = build_unstarted_result(attempt, record, Verdict.REJECTED, str(error))
            return self._record(attempt, rejected)
        except FilesFailed as fault:
            return self._return_or_give_up(attempt, record, str(fault))
        except (OSError, MemoryError) as error:
            return self._return_or_give_up(attempt, record, own_fault(error) or str(error))
        except (RedisError, BrokerUnavailable):
            raise
        except Exception as error:  # without a result, the job would run again
            errored = build_unstarted_result(attempt, record, Verdict.ERRORED, report_fault(error))
            return self._record(attempt, errored)

    def _check_record(self, attempt: Attempt, record: Record) -> Job:
        """Return the job that the record holds.

        Raises:
            PermanentError: The record is not signed, not valid or holds another job.
        """
        signing_key = self._resources.settings.signing_key
        check_signature(signing_key, Signed.RECORD, record.job, record.signature)
        job = parse_job(record.job)
        if job.id != attempt.job_id:
            raise InvalidJob(f"the record of job {attempt.job_id} holds another: {job.id}")
        return job

    def _run(
        self, job: Job, attempt: Attempt, record: Record, report_progress: ReportProgress
    ) -> JobResult | None:
        """Run the job; return None if it went back to the queue or another attempt owns it.

        Raises:
            FilesFailed: The worker's own files failed.
        """
        self._claimed = ClaimedJob(self._resources, self._worker, job, attempt, record)
        try:
            return self._claimed.run(report_progress)
        except LeaseLost as error:
            log.warning("%s", error)
        except FilesFailed:
            raise
        except Released as reason:
            log.info("job %s: returned to the queue, %s", job.id, reason)
            with broker_errors(self._url):
                self._ledger.release(attempt, str(reason))
        finally:
            self._claimed = None
        return None

    def _record(self, attempt: Attempt, result: JobResult) -> JobResult | None:
        """Record the result; return None if it waits on disk, or another attempt owns the job."""
        if not self._resources.outbox.record(attempt, result):
            return None
        return result

    def _return_or_give_up(self, attempt: Attempt, record: Record, fault: str) -> JobResult | None:
        """Return the job to the queue, or end it if workers' files failed it too often.

        First the worker must stop taking jobs; otherwise it might get this job again.
        """
        if record.faults + 1 >= FAULTS:
            error = files_failed_error(fault, FAULTS)
            errored = build_unstarted_result(attempt, record, Verdict.ERRORED, error)
            return self._record(attempt, errored)
        log.warning("job %s: returned, its worker's files fail: %s", attempt.job_id, fault)
        with broker_errors(self._url):
            with suppress(RedisError):
                report_failure(self._resources.redis, self._worker)
            deadline = monotonic() + WITHDRAW_TIMEOUT_S
            while self._worker in self._ledger.serving(record.queue) and monotonic() < deadline:
                sleep(0.1)
            self._ledger.release(attempt, f"its worker's files fail: {fault}", fault=True)
        return None
