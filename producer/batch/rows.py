"""From a batch's jobs to the rows of its report."""

from collections.abc import Iterator
from typing import cast

from jobs.record import State, decode_record, job_key
from jobs.result import JobResult, StepResult
from producer.batch.entry import Entry
from producer.batch.store import Plan
from producer.client import Client, decode_result
from producer.report.model import Row

KEPT = 16_384
"""Characters of each stream of a step that a report keeps: most of them from its end."""
_HEAD = KEPT // 4
_CHUNK = 100


def rows(client: Client, plan: Plan, jobs: dict[int, str], errors: dict[int, str]) -> Iterator[Row]:
    """One row for each project, also where equal projects share a job."""
    results: dict[str, JobResult | None] = {}
    for start in range(0, len(plan.entries), _CHUNK):
        positions = range(start, min(start + _CHUNK, len(plan.entries)))
        wanted = [jobs[at] for at in positions if at in jobs and jobs[at] not in results]
        results |= _results(client, list(dict.fromkeys(wanted)))
        for at in positions:
            entry, job_id = plan.entries[at], jobs.get(at)
            yield _row(entry, job_id, results.get(job_id or ""), errors.get(at))


def _results(client: Client, ids: list[str]) -> dict[str, JobResult | None]:
    with client.errors():
        pipe = client.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hgetall(job_key(job_id))
        found = cast("list[dict[str, str]]", pipe.execute())
    made: dict[str, JobResult | None] = {}
    for job_id, fields in zip(ids, found, strict=True):
        record = decode_record(fields) if fields else None
        if record is None or record.state is not State.DONE:
            made[job_id] = None
        else:
            made[job_id] = _shortened(decode_result(job_id, record))
    return made


def _row(entry: Entry, job_id: str | None, result: JobResult | None, error: str | None) -> Row:
    if result is None:
        return Row(
            project=entry.project,
            id=job_id,
            error=error,
            repeat=entry.repeat,
            labels=entry.labels,
        )
    row = Row.of(entry.project, result, repeat=entry.repeat)
    return row.model_copy(update={"labels": {**row.labels, **entry.labels}})


def _shortened(result: JobResult) -> JobResult:
    steps = tuple(_short_step(step) for step in result.steps)
    return result.model_copy(update={"steps": steps})


def _short_step(step: StepResult) -> StepResult:
    short = {name: _short(getattr(step, name)) for name in ("stdout", "stderr")}
    cut = any(short[name] != getattr(step, name) for name in short)
    return step.model_copy(update={**short, "truncated": step.truncated or cut})


def _short(text: str) -> str:
    if len(text) <= KEPT:
        return text
    return f"{text[:_HEAD]}\n… {len(text) - KEPT} characters left out …\n{text[-(KEPT - _HEAD) :]}"
