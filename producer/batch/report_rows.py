"""Makes the rows of a batch's report from its jobs, one after the other."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import JobResult, StepResult, StepStatus, Verdict
from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.job_fields import gone
from revalid.producer.batch.state import Plan
from revalid.producer.client import Client
from revalid.producer.report.model import Row
from revalid.producer.results import read_records

KEPT = 16_384
"""Characters of each output stream that a report keeps, most of them from the end."""
KEPT_PASSED = 2_000
"""The same for a project that passed; 0 if no report shows it."""
KEPT_OF_ALL = 2**27
"""Characters that a report keeps of the streams of all projects; each has an equal share."""
KEPT_OF_PROJECT = (2**15, 2**19)
"""The least and the most characters of all streams of a project."""
_CHUNK = 20  # results are large: at most 2 MiB for each step


def rows(client: Client, plan: Plan, jobs: dict[int, str], errors: dict[int, str]) -> Iterator[Row]:
    """Yield one row for each project; equal projects may share a job."""
    uses = Counter(jobs[at] for at in range(len(plan.entries)) if at in jobs)
    results: dict[str, JobResult | str | None] = {}
    share = KEPT_OF_ALL // max(1, len(plan.entries))
    for start in range(0, len(plan.entries), _CHUNK):
        positions = range(start, min(start + _CHUNK, len(plan.entries)))
        wanted = [jobs[at] for at in positions if at in jobs and jobs[at] not in results]
        results |= _results(client, list(dict.fromkeys(wanted)), plan.created_at, share)
        for at in positions:
            job_id = jobs.get(at)
            yield _row(plan.entries[at], job_id, results.get(job_id or ""), errors.get(at))
            if job_id is not None:
                uses[job_id] -= 1
                if not uses[job_id]:
                    del results[job_id]


def slim(formats: list[str]) -> Callable[[Row], Row]:
    """Return a function that removes from a row what no report in these formats shows."""
    if not {"html", "json", "junit"} & set(formats):
        return lambda row: row.model_copy(update={"steps": ()})
    kept = KEPT_PASSED if {"html", "json"} & set(formats) else 0

    def slimmed(row: Row) -> Row:
        if row.verdict is not Verdict.PASSED:
            return row
        passed = StepStatus.PASSED
        steps = tuple(
            _short_step(step, kept) if step.status is passed else step for step in row.steps
        )
        return row.model_copy(update={"steps": steps})

    return slimmed


def _results(
    client: Client, ids: list[str], created_at: datetime, share: int
) -> dict[str, JobResult | str | None]:
    """Read results by job; None if the job is not done, an error if its record is gone."""
    results: dict[str, JobResult | str | None] = {}
    for job_id, record in read_records(client, ids):
        if record is None:
            results[job_id] = gone(job_id)
        elif record.state is JobState.DONE:
            reused = record.finished_at is not None and record.finished_at < created_at
            results[job_id] = shortened(client.decode(job_id, record, reused=reused), share)
        else:
            results[job_id] = None
    return results


def _row(
    entry: BatchItem, job_id: str | None, result: JobResult | str | None, error: str | None
) -> Row:
    if not isinstance(result, JobResult):
        return Row(
            project=entry.project,
            id=job_id,
            error=error or result,
            repeat=entry.repeat,
            labels=entry.labels,
        )
    row = Row.of(entry.project, result, repeat=entry.repeat)
    return row.model_copy(update={"labels": {**row.labels, **entry.labels}})


def shortened(result: JobResult, share: int) -> JobResult:
    """Shorten every stream of a result, more if it has many.

    Args:
        share: The project's share of :data:`KEPT_OF_ALL`.
    """
    least, most = KEPT_OF_PROJECT
    streams = sum(bool(step.stdout) + bool(step.stderr) for step in result.steps)
    limit = min(KEPT, max(least, min(share, most)) // max(1, streams))
    steps = tuple(_short_step(step, limit) for step in result.steps)
    return result.model_copy(update={"steps": steps})


def _short_step(step: StepResult, limit: int) -> StepResult:
    short = {name: _short(getattr(step, name), limit) for name in ("stdout", "stderr")}
    cut = any(short[name] != getattr(step, name) for name in short)
    return step.model_copy(update={**short, "truncated": step.truncated or cut})


def _short(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    if not limit:
        return ""
    head = limit // 4
    left_out = len(text) - limit
    return f"{text[:head]}\n… {left_out} characters left out …\n{text[head - limit :]}"
