"""From an attempt's end to its result."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from time import monotonic

from revalid.jobs.errors import PermanentError, RevalidError
from revalid.jobs.ledger.record import Attempt, Record
from revalid.jobs.result import JobResult, Verdict
from revalid.worker.run.runner import Run

log = logging.getLogger("revalid.worker")


class Released(Exception):
    """Somebody else shall have the job; the message says why."""


class FilesFailed(Released):
    """The worker's own files failed the job."""


def classify_outcome(
    work: "asyncio.Task[Verdict]", beat: "asyncio.Task[None]"
) -> tuple[Verdict, str | None]:
    """The verdict of an attempt that has ended, and why where that is no step's doing.

    Raises:
        Released: It gave the job back.
        LeaseLost: Another attempt owns the job.
    """
    if work.cancelled():
        if beat.done() and (lost := beat.exception()) is not None:
            raise lost
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
            log.error("job failed on our side", exc_info=error)
            return Verdict.ERRORED, f"{type(error).__name__} in the worker: see its log"


def build_result(
    run: Run, attempt: Attempt, record: Record, verdict: Verdict, error: str | None
) -> JobResult:
    """The result of an attempt that ran steps, or tried to."""
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
    """The result of a job that this worker could not begin."""
    return JobResult(
        id=attempt.job_id,
        verdict=verdict,
        error=error,
        image="",
        attempts=attempt.number,
        queued_at=record.queued_at,
        queued_s=record.queued_s,
        started_at=record.started_at,
        finished_at=_now(attempt, record),
    )


def _now(attempt: Attempt, record: Record) -> datetime:
    """The time of the clock that tells when the attempt began: this machine's may be wrong."""
    if record.started_at is None:
        return datetime.now(UTC)
    return record.started_at + timedelta(seconds=monotonic() - attempt.claimed)
