"""Builds the result of an attempt."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from time import monotonic

from revalid.jobs.encoding import encodable
from revalid.jobs.errors import PermanentError, RevalidError
from revalid.jobs.ledger.record import Attempt, Record
from revalid.jobs.result import JobResult, Verdict
from revalid.worker.run.runner import Run

log = logging.getLogger("revalid.worker")


class Released(Exception):
    """The job must return to the queue; the message says why."""


class FilesFailed(Released):
    """The worker's own files failed the job."""


def classify_outcome(
    work: "asyncio.Task[Verdict]", heartbeat: "asyncio.Task[None]"
) -> tuple[Verdict, str | None]:
    """Return the verdict of an ended attempt, and the error if no step decided it.

    Raises:
        Released: The attempt gave the job back.
        LeaseLost: Another attempt owns the job.
    """
    if work.cancelled():
        if heartbeat.done() and (lease_lost := heartbeat.exception()) is not None:
            raise lease_lost
        return Verdict.CANCELLED, "cancelled while it ran"
    match work.exception():
        case None:
            return work.result(), None
        case Released() as released:
            raise released
        case PermanentError() as error:
            return Verdict.REJECTED, str(error)
        case RevalidError() as error:
            return Verdict.ERRORED, str(error)
        case error:
            return Verdict.ERRORED, report_fault(error)


def build_result(
    run: Run, attempt: Attempt, record: Record, verdict: Verdict, error: str | None
) -> JobResult:
    """Build the result of an attempt that ran steps, or tried to."""
    return JobResult(
        id=attempt.job_id,
        verdict=verdict,
        error=run.scrubber.text(encodable(error)) if error else None,
        sandbox=run.sandbox,
        enforcement=run.enforcement,
        image=run.job.image,
        source=run.source,
        overlay=run.overlay_report,
        strategy=run.strategy,
        tools=run.tools,
        notes=tuple(map(encodable, run.notes)),
        labels=run.job.labels,
        proven=run.proven,
        unproven=run.unproven,
        services=run.services,
        artifacts=run.kept_artifacts,
        attempts=attempt.number,
        queued_at=record.queued_at,
        queued_s=record.queued_s,
        started_at=record.started_at,
        finished_at=_now(attempt, record),
        steps=tuple(run.steps),
    )


def build_unstarted_result(
    attempt: Attempt, record: Record, verdict: Verdict, error: str
) -> JobResult:
    """Build the result of a job that this worker could not start."""
    return JobResult(
        id=attempt.job_id,
        verdict=verdict,
        error=encodable(error),
        image="",
        attempts=attempt.number,
        queued_at=record.queued_at,
        queued_s=record.queued_s,
        started_at=record.started_at,
        finished_at=_now(attempt, record),
    )


def report_fault(error: BaseException | None) -> str:
    """Log an error that nothing foresaw; return the text of the job's error."""
    log.error("job failed on our side", exc_info=error)
    return f"{type(error).__name__} in the worker: see its log"


def files_failed_error(fault: str, times: int) -> str:
    """Return the error of a job that workers' own files failed too often, and what to do."""
    return (
        f"workers' own files failed the job {times} times, last: {fault}; free their disks, raise "
        "their limit of open files, or correct REVALID_SCRATCH and REVALID_HOME"
    )


def _now(attempt: Attempt, record: Record) -> datetime:
    """Return the time of the server's clock, as for the start; this machine's may be wrong."""
    if record.started_at is None:
        return datetime.now(UTC)
    return record.started_at + timedelta(seconds=monotonic() - attempt.claimed)
