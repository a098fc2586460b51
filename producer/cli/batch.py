"""``batch``: many projects as one object."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from rich.text import Text

from jobs.errors import InvalidJob, JobError
from jobs.job import Lane
from jobs.record import State
from jobs.result import Verdict
from jobs.settings import Settings, load_settings
from producer.batch.crew import BatchCrew
from producer.batch.drive import Drive
from producer.batch.rows import rows
from producer.batch.sources import find_entries
from producer.batch.store import BatchStore, Plan
from producer.cli.batch_progress import BatchProgress
from producer.cli.options import JobOptions, pairs
from producer.cli.output import INTERRUPTED, console, print_json, report_error, status_of
from producer.cli.run import interruptible
from producer.client import Client
from producer.embedded import attached
from producer.report.build import build
from producer.report.formats import FORMATS, read, write
from producer.report.model import BatchReport

MIN_TTL_S = 30 * 86_400
"""A batch is remembered for a month at least; its results as long as results are."""


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What ``batch run`` and ``batch resume`` say about how to go about it, as it was typed."""

    concurrency: int | None = None
    fail_fast: bool = False
    reports: Sequence[str] | None = None
    compare: str | None = None
    json: bool = False

    def targets(self) -> list[tuple[str, Path]]:
        """Format and path of each report.

        Raises:
            InvalidJob: A pair is not one, or the format is unknown.
        """
        found = []
        for word in self.reports or ():
            name, equals, path = word.partition("=")
            name = {"md": "markdown"}.get(name, name)
            if not equals or not path or name not in FORMATS:
                known = ", ".join(FORMATS)
                raise InvalidJob(f"--report {word}: write FORMAT=PATH, FORMAT one of {known}")
            found.append((name, Path(path)))
        return found


def run(
    sources: Sequence[str],
    asked: JobOptions,
    how: BatchOptions,
    *,
    only: Sequence[str],
    only_labels: Sequence[str],
    limit: int | None,
    repeat: int,
    dry_run: bool,
) -> int:
    """Submit projects, follow them, and report; the exit status says whether all passed."""
    how.targets()
    entries = find_entries(
        sources,
        only=only,
        labels=pairs("--only-label", only_labels),
        limit=limit,
        repeat=repeat,
    )
    if dry_run:
        from producer.cli.batch_dry_run import dry_run as implementation

        return implementation(entries, asked, json=how.json)
    options = asked.arguments() | {"lane": Lane.BATCH.value}
    fresh = bool(options.pop("fresh")) or repeat > 1
    plan = Plan(
        id=uuid4().hex[:12],
        source=" ".join(sources),
        created_at=datetime.now(UTC),
        options=options,
        fresh=fresh,
        entries=entries,
    )
    with _opened() as (client, store):
        with client.errors():
            store.create(plan)
        return _drive(client, store, plan, how)


def resume(batch_id: str, how: BatchOptions) -> int:
    """Go on where a batch was left: submit what is not submitted, await what has no verdict."""
    how.targets()
    with _opened() as (client, store):
        with client.errors():
            plan = store.plan(batch_id)
        return _drive(client, store, plan, how)


def retry(batch_id: str, verdicts: Sequence[str], how: BatchOptions) -> int:
    """Run those projects again whose verdict is one of these, and follow the batch."""
    wanted = {_verdict(word) for word in verdicts}
    with _opened() as (client, store):
        with client.errors():
            plan = store.plan(batch_id)
            report = _report(client, store, plan)
            again = [at for at, row in enumerate(report.jobs) if row.verdict in wanted]
            if Verdict.ERRORED in wanted:
                again += [at for at, row in enumerate(report.jobs) if not row.verdict and row.error]
            if not again:
                raise InvalidJob(f"batch {batch_id}: no project is {' or '.join(sorted(wanted))}")
            store.again(batch_id, again)
        return _drive(client, store, plan, how)


def status(batch_id: str, *, json: bool) -> int:
    """Print where a batch is."""
    with _opened() as (client, store):
        with client.errors():
            plan = store.plan(batch_id)
        report = _report(client, store, plan)
    if json:
        print_json(report.document(steps=False))
        return 0
    BatchProgress(console(), plan, live=False).summary(report)
    return 0


def watch(batch_id: str, *, json: bool) -> int:
    """Follow a batch that another process submits."""
    with _opened() as (client, store), interruptible():
        with client.errors():
            plan = store.plan(batch_id)
        return _follow(client, store, plan, BatchOptions(json=json), submit=False)


def cancel(batch_id: str, *, json: bool) -> int:
    """Cancel all jobs of a batch that are not done."""
    with _opened() as (client, store):
        with client.errors():
            plan = store.plan(batch_id)
            store.cancel(plan.id)
        number = Drive(client, store, plan, send=None).cancel()
    if json:
        print_json({"id": batch_id, "cancelled": number})
    else:
        console().print(f"batch {batch_id}: {number} jobs end")
    return 0


def report(batch_id: str, how: BatchOptions) -> int:
    """Write reports of a batch as it is now."""
    if not how.targets() and not how.json:
        raise InvalidJob(f"name a report: --report FORMAT=PATH, FORMAT one of {', '.join(FORMATS)}")
    with _opened() as (client, store):
        with client.errors():
            plan = store.plan(batch_id)
        made = _report(client, store, plan, _previous(client, store, how.compare))
    _write(made, how)
    return 0


def compare(batch_id: str, previous: str, *, json: bool) -> int:
    """Say what changed from an earlier batch; 1 where something that passed does not any more."""
    with _opened() as (client, store):
        with client.errors():
            plan = store.plan(batch_id)
        made = _report(client, store, plan, _previous(client, store, previous))
    assert made.comparison is not None  # noqa: S101
    if json:
        print_json(made.comparison.model_dump(mode="json"))
    else:
        BatchProgress(console(), plan, live=False).comparison(made.comparison)
    return 1 if made.comparison.regressed else 0


def list_(*, json: bool) -> int:
    """Print the batches, the newest first."""
    with _opened() as (client, store), client.errors():
        plans = [store.plan(batch_id) for batch_id in store.latest()]
        found = [
            {
                "id": plan.id,
                "created_at": plan.created_at.isoformat(timespec="seconds"),
                "projects": len(plan.entries),
                "submitted": len(store.jobs(plan.id)),
                "source": plan.source,
            }
            for plan in plans
        ]
    if json:
        print_json(found)
        return 0
    for facts in found:
        console().print(
            Text.assemble(
                f"{facts['id']}  ",
                (f"{facts['created_at']}  ", "dim"),
                f"{facts['submitted']}/{facts['projects']}  {facts['source']}",
            )
        )
    if not found:
        console(stderr=True).print("no batch yet: `revalid batch run DIRECTORY` makes one")
    return 0


def _drive(client: Client, store: BatchStore, plan: Plan, how: BatchOptions) -> int:
    with interruptible():
        return _follow(client, store, plan, how, submit=True)


def _follow(
    client: Client, store: BatchStore, plan: Plan, how: BatchOptions, *, submit: bool
) -> int:
    out = console(stderr=how.json, quiet=how.json and not sys.stderr.isatty())
    live = (sys.stderr if how.json else sys.stdout).isatty() and not out.is_dumb_terminal
    previous = _previous(client, store, how.compare)
    shown = BatchProgress(out, plan, live=live)
    try:
        with shown:
            if submit:
                with client.errors():
                    store.go_on(plan.id)
                with BatchCrew(client.settings, client, how.concurrency) as crew:
                    slots = None if client.settings.embedded else how.concurrency
                    drive = Drive(
                        client,
                        store,
                        plan,
                        send=crew.send,
                        concurrency=slots,
                        fail_fast=how.fail_fast,
                    )
                    crew.start(drive.pending())
                    drive.run(
                        lambda progress: shown.show(client, drive, progress),
                        lambda: crew.check(drive.pending()),
                    )
            else:
                drive = Drive(client, store, plan, send=None)
                drive.run(lambda progress: shown.show(client, drive, progress), lambda: None)
        made = _report(client, store, plan, previous)
    except JobError as error:
        report_error(type(error), f"{error}; {_later(plan)}", json=how.json, job_id=plan.id)
        return status_of(error)
    except KeyboardInterrupt:
        report_error("interrupted", f"interrupted; {_later(plan)}", json=how.json, job_id=plan.id)
        return INTERRUPTED
    _write(made, how)
    if not how.json:
        shown.summary(made)
    return 0 if made.counts[Verdict.PASSED] == len(made.jobs) else 1


def _later(plan: Plan) -> str:
    return f"`revalid batch resume {plan.id}` goes on, `revalid batch cancel {plan.id}` ends it"


def _report(
    client: Client, store: BatchStore, plan: Plan, previous: BatchReport | None = None
) -> BatchReport:
    with client.errors():
        jobs, errors = store.jobs(plan.id), store.errors(plan.id)
        states = Drive(client, store, plan, send=None).states()
    done = len(jobs) + len(errors) >= len(plan.entries) and all(
        state is State.DONE for state in states.values()
    )
    return build(
        id=plan.id,
        name=plan.source,
        created_at=plan.created_at,
        finished_at=datetime.now(UTC) if done else None,
        rows=list(rows(client, plan, jobs, errors)),
        previous=previous,
    )


def _previous(client: Client, store: BatchStore, named: str | None) -> BatchReport | None:
    if named is None:
        return None
    if Path(named).is_file():
        return read(Path(named))
    with client.errors():
        plan = store.plan(named)
    return _report(client, store, plan)


def _write(made: BatchReport, how: BatchOptions) -> None:
    for name, path in how.targets():
        write(made, name, path)
    if how.json:
        print_json(made.document(steps=False))


def _verdict(word: str) -> Verdict:
    try:
        return Verdict(word)
    except ValueError:
        known = ", ".join(Verdict)
        raise InvalidJob(f"--verdict {word}: no such verdict; choose one of {known}") from None


@contextmanager
def _opened() -> Iterator[tuple[Client, BatchStore]]:
    settings: Settings = load_settings()
    with attached(settings) as reached, Client(reached) as client:
        ttl_s = max(settings.result_ttl_s, MIN_TTL_S)
        yield client, BatchStore(client.redis, reached.home / "batches", ttl_s=ttl_s)
