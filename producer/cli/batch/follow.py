"""What the commands of ``batch`` share: to reach a batch, follow it, and report it."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from revalid.jobs.constants import MAX_SLOTS
from revalid.jobs.errors import InvalidJob, RevalidError
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.batch.report_rows import rows, slim
from revalid.producer.batch.runner import BatchRunner
from revalid.producer.batch.state import BatchStore, Plan
from revalid.producer.batch.workers import BatchCrew
from revalid.producer.cli import interrupt
from revalid.producer.cli.batch.progress import BatchProgress
from revalid.producer.cli.options import BatchOptions
from revalid.producer.cli.output import console, print_json, report_error, status_of
from revalid.producer.cli.waiting import PATIENCE_S, START, Waiting
from revalid.producer.client import Client
from revalid.producer.local.workers import attached
from revalid.producer.report.builder import build
from revalid.producer.report.formats import FORMATS, check_path, read, write
from revalid.producer.report.model import BatchReport

MIN_TTL_S = 30 * 86_400
"""A batch is remembered for a month at least; its results as long as results are."""


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of one broker, and what one command does with one of them."""

    client: Client
    store: BatchStore

    def plan(self, batch_id: str) -> Plan:
        """A batch's plan. Raises :class:`~revalid.jobs.errors.UnknownJob` where there is none."""
        with self.client._errors():
            return self.store.plan(batch_id)

    def check(self, how: BatchOptions) -> BatchReport | None:
        """See that options can be followed, before anything is stored; what to compare with.

        Raises:
            InvalidJob: More slots than a worker may have.
            UnknownJob: There is no such batch or file to compare with.
        """
        slots = how.concurrency or 1
        if self.client.settings.embedded and slots > MAX_SLOTS:
            raise InvalidJob(
                f"--concurrency {slots}: without REVALID_BROKER_URL one worker runs the batch, "
                f"and it takes at most {MAX_SLOTS} at a time"
            )
        return self.previous(how.compare)

    def previous(self, named: str | None) -> BatchReport | None:
        """An earlier batch, or a report of one, without its steps."""
        if named is None:
            return None
        try:
            is_file = Path(named).is_file()
        except OSError:  # a name that no file can have
            is_file = False
        if not is_file:
            return self.report(self.plan(named))
        found = read(Path(named))
        bare = slim([])
        return found.model_copy(update={"jobs": tuple(map(bare, found.jobs))})

    def report(
        self, plan: Plan, previous: BatchReport | None = None, formats: Sequence[str] = ()
    ) -> BatchReport:
        """A batch as it is now, with what reports in these formats show."""
        drive = BatchRunner(self.client, self.store, plan, send=None)
        errors = self._left_out(plan, drive) | drive.errors
        done = {*drive.jobs, *errors} >= set(range(len(plan.entries))) and all(
            state is JobState.DONE for state in drive.states().values()
        )
        return build(
            id=plan.id,
            name=plan.source,
            created_at=plan.created_at,
            finished_at=datetime.now(UTC) if done else None,
            rows=rows(self.client, plan, drive.jobs, errors),
            keep=slim(list(formats)),
            previous=previous,
        )

    def _left_out(self, plan: Plan, drive: BatchRunner) -> dict[int, str]:
        """Why the projects of a cancelled batch that have become no jobs will become none."""
        with self.client._errors():
            if not self.store.is_cancelled(plan.id):
                return {}
        why = f"the batch was cancelled before; `revalid batch resume {plan.id}` submits it"
        return {at: why for at in range(len(plan.entries)) if at not in drive.jobs}

    def follow(
        self, plan: Plan, how: BatchOptions, previous: BatchReport | None, *, submit: bool
    ) -> int:
        """Show a batch until it is done, and report it; the exit status says whether all passed.

        Args:
            submit: False where another process submits it.
        """
        out = console(stderr=how.json, quiet=how.json and not sys.stderr.isatty())
        live = (sys.stderr if how.json else sys.stdout).isatty() and not out.is_dumb_terminal
        waiting = Waiting(self.client, out, fix=self._start(plan), patience_s=PATIENCE_S)
        shown = BatchProgress(out, plan, live=live, waiting=waiting)
        later = _later(plan)
        try:
            with shown, interrupt.held():
                (self._drive if submit else self._watch)(plan, how, shown)
            later = f"it is done: `revalid batch report {plan.id}` writes reports"
            interrupt.check()
            made = self.report(plan, previous, [name for name, _ in _targets(how.reports)])
            write_reports(made, how)
        except RevalidError as error:
            said = f"batch {plan.id}: {error}; {later}"
            report_error(type(error), said, json=how.json, job_id=plan.id)
            return status_of(error)
        except KeyboardInterrupt:
            said = f"batch {plan.id}: interrupted; {later}"
            report_error("interrupted", said, json=how.json, job_id=plan.id)
            return interrupt.STATUS
        if how.json:
            print_json(made.document(steps=False))
        else:
            shown.summary(made)
        return 0 if made.counts[Verdict.PASSED] == len(made.jobs) else 1

    def _start(self, plan: Plan) -> str:
        embedded = self.client.settings.embedded
        return f"`revalid batch resume {plan.id}` starts one" if embedded else START

    def _drive(self, plan: Plan, how: BatchOptions, shown: BatchProgress) -> None:
        client = self.client
        with client._errors():
            self.store.go_on(plan.id)
        with BatchCrew(client.settings, client, how.concurrency, plan.id) as crew:
            slots = None if client.settings.embedded else how.concurrency
            drive = BatchRunner(
                client,
                self.store,
                plan,
                send=crew.send,
                concurrency=slots,
                fail_fast=how.fail_fast,
            )
            crew.start(drive.pending(), interrupt.check)
            self._run(drive, shown, lambda: crew.check(drive.pending(), interrupt.check))

    def _watch(self, plan: Plan, _: BatchOptions, shown: BatchProgress) -> None:
        self._run(BatchRunner(self.client, self.store, plan, send=None), shown, lambda: None)

    def _run(self, drive: BatchRunner, shown: BatchProgress, check: Callable[[], None]) -> None:
        drive.run(lambda progress: shown.show(self.client, drive, progress), check, interrupt.check)


def write_reports(made: BatchReport, how: BatchOptions) -> None:
    """Write the reports that were asked for."""
    for name, path in _targets(how.reports):
        write(made, name, path)


def formats(reports: Sequence[str] | None) -> list[str]:
    """Format of each report, whose path can be written.

    Raises:
        InvalidJob: As :func:`_targets`, or a file cannot be written.
    """
    found = _targets(reports)
    for _, path in found:
        check_path(path)
    return [name for name, _ in found]


def _targets(reports: Sequence[str] | None) -> list[tuple[str, Path]]:
    """Format and path of each report.

    Raises:
        InvalidJob: A pair is not one, or the format is unknown.
    """
    found = []
    for word in reports or ():
        name, equals, path = word.partition("=")
        name = {"md": "markdown"}.get(name, name)
        if not equals or not path or name not in FORMATS:
            known = ", ".join(FORMATS)
            raise InvalidJob(f"--report {word}: write FORMAT=PATH, FORMAT one of {known}")
        found.append((name, Path(path)))
    return found


@contextmanager
def opened() -> Iterator[Batches]:
    """The batches of the broker that the settings name."""
    with (
        attached(load_settings()) as settings,
        Client(settings) as client,
    ):
        ttl_s = max(settings.result_ttl_s, MIN_TTL_S)
        store = BatchStore(client._redis, settings.home / "batches", ttl_s=ttl_s)
        yield Batches(client, store)


def _later(plan: Plan) -> str:
    return f"`revalid batch resume {plan.id}` goes on, `revalid batch cancel {plan.id}` ends it"
