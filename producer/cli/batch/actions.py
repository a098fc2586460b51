"""The actions of the group ``batch``."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.text import Text

from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import Lane
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.batch.job_fields import fields
from revalid.producer.batch.matrix import with_matrix
from revalid.producer.batch.reader import BatchReader
from revalid.producer.batch.sources import find_entries
from revalid.producer.batch.state import Head, Plan
from revalid.producer.cli.batch.expectations import print_expectations
from revalid.producer.cli.batch.follow import Batches, formats, opened, write_reports
from revalid.producer.cli.batch.progress import BatchProgress
from revalid.producer.cli.options import BatchOptions, JobOptions, pairs
from revalid.producer.cli.output import console, print_json
from revalid.producer.report.expected import check_expected, read_expected
from revalid.producer.report.formats import FORMATS
from revalid.producer.report.markdown import words as _words
from revalid.producer.report.model import NOT_SUBMITTED
from revalid.producer.sanitize import one_line


def run(
    sources: Sequence[str],
    job_options: JobOptions,
    batch_options: BatchOptions,
    *,
    only: Sequence[str],
    only_labels: Sequence[str],
    limit: int | None,
    repeat: int,
    dry_run: bool,
) -> int:
    """Submit projects, follow them and write reports; return 0 if all passed, or are
    as expected."""
    formats(batch_options.reports)
    expected = None if batch_options.expect is None else read_expected(Path(batch_options.expect))
    entries = find_entries(
        sources,
        only=only,
        labels=pairs("--only-label", only_labels),
        limit=limit,
        repeat=repeat,
    )
    options: dict[str, Any] = {**job_options.arguments(), "lane": Lane.BATCH.value}
    settings = load_settings()
    entries = with_matrix(entries, options, settings)
    if expected is not None:
        narrowed = bool(only or only_labels or limit)
        check_expected(expected, (entry.project for entry in entries), narrowed=narrowed)
    if dry_run:
        from revalid.producer.cli.batch.dry_run import dry_run as implementation

        return implementation(entries, job_options, settings, json=batch_options.json)
    fresh = bool(options.pop("fresh")) or repeat > 1
    with opened() as batches:
        previous = batches.check(batch_options)
        with batches.client._errors():
            plan = Plan(
                id=uuid4().hex[:12],
                source=" ".join(sources),
                created_at=batches.store.now(),
                options=options,
                fresh=fresh,
                entries=entries,
            )
            batches.store.create(plan)
        return batches.follow(plan, batch_options, previous, submit=True, expected=expected)


def resume(batch_id: str, batch_options: BatchOptions) -> int:
    """Continue a batch: submit the remaining projects and wait for those without a verdict."""
    formats(batch_options.reports)
    with opened() as batches:
        plan = batches.plan(batch_id)
        return batches.follow(plan, batch_options, batches.check(batch_options), submit=True)


def retry(batch_id: str, verdicts: Sequence[str], batch_options: BatchOptions) -> int:
    """Run projects with one of these verdicts again, and follow the batch."""
    formats(batch_options.reports)
    wanted = {_verdict(word) for word in verdicts}
    with opened() as batches:
        plan = batches.plan(batch_id)
        previous = batches.check(batch_options)
        again = _ended_as(batches, plan, wanted)
        if not again:
            raise InvalidJob(f"batch {batch_id}: no project is {' or '.join(sorted(wanted))}")
        with batches.client._errors():
            batches.store.again(batch_id, again)
        return batches.follow(plan, batch_options, previous, submit=True)


def status(batch_id: str, *, json: bool) -> int:
    """Print the state of a batch."""
    with opened() as batches:
        plan = batches.plan(batch_id)
        batch_report = batches.report(plan)
    if json:
        print_json(batch_report.document(steps=False))
        return 0
    BatchProgress(console(), plan, live=False).summary(batch_report)
    return 0


def watch(batch_id: str, *, json: bool) -> int:
    """Follow a batch that another process submits."""
    with opened() as batches:
        plan = batches.plan(batch_id)
        return batches.follow(plan, BatchOptions(json=json), None, submit=False)


def cancel(batch_id: str, *, json: bool) -> int:
    """Cancel all unfinished jobs of a batch, and stop submitting."""
    with opened() as batches:
        plan = batches.plan(batch_id)
        with batches.client._errors():
            batches.store.cancel(batch_id)
        number = BatchReader(batches.client, batches.store, plan).cancel()
    if json:
        print_json({"id": batch_id, "cancelled": number})
    else:
        console().print(f"batch {batch_id}: {number} jobs end")
    return 0


def report(batch_id: str, batch_options: BatchOptions) -> int:
    """Write reports of the current state of a batch."""
    report_formats = formats(batch_options.reports)
    expected = None if batch_options.expect is None else read_expected(Path(batch_options.expect))
    if not report_formats and not batch_options.json and expected is None:
        raise InvalidJob(f"name a report: --report FORMAT=PATH, FORMAT one of {', '.join(FORMATS)}")
    with opened() as batches:
        plan = batches.plan(batch_id)
        previous = batches.previous(batch_options.compare)
        if expected is not None:
            projects = (entry.project for entry in plan.entries)
            check_expected(expected, projects, narrowed=True)
        batch_report = batches.report(plan, previous, report_formats, expected)
    write_reports(batch_report, batch_options)
    if batch_options.json:
        print_json(batch_report.document(steps=False))
    elif batch_report.expectations is not None:
        print_expectations(console(), batch_report.expectations)
    expectations = batch_report.expectations
    return 1 if expectations is not None and expectations.wrong else 0


def compare(batch_id: str, previous: str, *, json: bool) -> int:
    """Print what changed since an earlier batch; return 1 if something passed then and not now."""
    with opened() as batches:
        plan = batches.plan(batch_id)
        batch_report = batches.report(plan, batches.previous(previous))
    assert batch_report.comparison is not None  # noqa: S101
    if json:
        print_json(batch_report.comparison.model_dump(mode="json"))
    else:
        BatchProgress(console(), plan, live=False).comparison(batch_report.comparison)
    comparison = batch_report.comparison
    lost = [change for change in comparison.not_submitted if change.was is Verdict.PASSED]
    return 1 if comparison.regressed or lost else 0


def list_(*, json: bool) -> int:
    """Print the batches, the newest first."""
    with opened() as batches, batches.client._errors():
        ids = list(batches.store.latest())
        heads = [head for batch_id in ids if (head := batches.store.head(batch_id))]
        summaries = [_summary(batches, head) for head in heads]
    if json:
        print_json(summaries)
        return 0
    for facts in summaries:
        counts = "".join(f"  {_words(state)} {n}" for state, n in facts["counts"].items() if n)
        console().print(
            Text.assemble(
                f"{facts['id']}  ",
                (f"{facts['created_at']}  ", "dim"),
                f"{facts['done']}/{facts['projects']} done{counts}  {one_line(facts['source'])}",
            )
        )
    if not summaries:
        console(stderr=True).print("no batch yet: `revalid batch run DIRECTORY` makes one")
    return 0


def _summary(batches: Batches, head: Head) -> dict[str, Any]:
    """Return the row of a batch for ``batch list``; submitted projects need not be done."""
    jobs, errors = batches.store.jobs(head.id), batches.store.errors(head.id)
    known = fields(batches.client, jobs.values(), "state", "verdict")
    verdicts = Counter(
        verdict
        for at, job_id in jobs.items()
        if at not in errors and (verdict := known.get(job_id, (None, None))[1])
    )
    counts = {
        **{verdict.value: verdicts[verdict] for verdict in Verdict},
        NOT_SUBMITTED: len(errors),
    }
    return {
        "id": head.id,
        "created_at": datetime.fromisoformat(head.created_at).isoformat(timespec="seconds"),
        "projects": head.projects,
        "submitted": head.submitted,
        "done": sum(counts.values()),
        "counts": counts,
        "source": head.source,
    }


def _ended_as(batches: Batches, plan: Plan, wanted: set[Verdict]) -> list[int]:
    """Return the positions of projects with these verdicts; a project without a job is errored."""
    with batches.client._errors():
        jobs, errors = batches.store.jobs(plan.id), batches.store.errors(plan.id)
    known = fields(batches.client, jobs.values(), "state", "verdict")
    positions = []
    for at in range(len(plan.entries)):
        job_id = jobs.get(at)
        state, verdict = known.get(job_id or "", (None, None))
        lost = at in errors or (job_id is not None and state is None)
        done = state == JobState.DONE and verdict in wanted
        if done or (lost and Verdict.ERRORED in wanted):
            positions.append(at)
    return positions


def _verdict(word: str) -> Verdict:
    try:
        return Verdict(word)
    except ValueError:
        known = ", ".join(Verdict)
        raise InvalidJob(f"--verdict {word}: no such verdict: choose one of {known}") from None
