"""Loads, follows and reports a batch, for the commands of ``batch``."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from revalid.jobs.constants import MAX_SLOTS
from revalid.jobs.errors import InvalidJob, RevalidError
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.batch.reader import BatchReader, Progress
from revalid.producer.batch.report_rows import rows, slim
from revalid.producer.batch.runner import BatchRunner
from revalid.producer.batch.state import BatchStore, Plan
from revalid.producer.batch.workers import BatchWorkers
from revalid.producer.cli import interrupt
from revalid.producer.cli.batch.progress import BatchProgress
from revalid.producer.cli.options import BatchOptions
from revalid.producer.cli.output import console, print_json, report_error, status_of
from revalid.producer.cli.waiting import PATIENCE_S, START, Waiting
from revalid.producer.client import Client
from revalid.producer.local.workers import attached
from revalid.producer.report.builder import build
from revalid.producer.report.expected import Expected
from revalid.producer.report.formats import FORMATS, check_path, read, write
from revalid.producer.report.model import BatchReport

MIN_BATCH_TTL_S = 30 * 86_400
"""Least time that a batch is kept; its results follow ``REVALID_RESULT_TTL_S``."""


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of one broker."""

    client: Client
    store: BatchStore

    def plan(self, batch_id: str) -> Plan:
        """Load a batch's plan.

        Raises:
            UnknownJob: No batch has this id.
        """
        with self.client._errors():
            return self.store.plan(batch_id)

    def check(self, batch_options: BatchOptions) -> BatchReport | None:
        """Check the options before anything is stored; return the batch to compare with.

        Raises:
            InvalidJob: The concurrency is more than one worker may have.
            UnknownJob: The batch or file to compare with does not exist.
        """
        slots = batch_options.concurrency or 1
        if self.client.settings.embedded and slots > MAX_SLOTS:
            raise InvalidJob(
                f"--concurrency {slots}: without REVALID_BROKER_URL one worker runs the batch, "
                f"and it takes at most {MAX_SLOTS} at a time"
            )
        return self.previous(batch_options.compare)

    def previous(self, named: str | None) -> BatchReport | None:
        """Load an earlier batch or JSON report, without its steps."""
        if named is None:
            return None
        try:
            is_file = Path(named).is_file()
        except OSError:  # not a valid file name
            is_file = False
        if not is_file:
            return self.report(self.plan(named))
        earlier = read(Path(named))
        bare = slim([])
        return earlier.model_copy(update={"jobs": tuple(map(bare, earlier.jobs))})

    def report(
        self,
        plan: Plan,
        previous: BatchReport | None = None,
        formats: Sequence[str] = (),
        expected: Mapping[str, Expected] | None = None,
    ) -> BatchReport:
        """Build a report of a batch's current state, with the data that these formats show."""
        reader = BatchReader(self.client, self.store, plan)
        errors = self._left_out(plan, reader) | reader.errors
        done = {*reader.jobs, *errors} >= set(range(len(plan.entries))) and all(
            state is JobState.DONE for state in reader.states().values()
        )
        return build(
            id=plan.id,
            name=plan.source,
            created_at=plan.created_at,
            finished_at=datetime.now(UTC) if done else None,
            rows=rows(self.client, plan, reader.jobs, errors),
            keep=slim(list(formats)),
            previous=previous,
            expected=expected,
        )

    def _left_out(self, plan: Plan, reader: BatchReader) -> dict[int, str]:
        """Return the reason for each project that a cancelled batch will not submit."""
        with self.client._errors():
            if not self.store.is_cancelled(plan.id):
                return {}
        why = f"the batch was cancelled: `revalid batch resume {plan.id}` submits it"
        return {at: why for at in range(len(plan.entries)) if at not in reader.jobs}

    def follow(
        self,
        plan: Plan,
        batch_options: BatchOptions,
        previous: BatchReport | None,
        *,
        submit: bool,
        expected: Mapping[str, Expected] | None = None,
    ) -> int:
        """Show a batch until it is done, and write reports; return 0 if all passed.

        Args:
            submit: False if another process submits the projects.
            expected: What is expected of the projects; then return 0 if all are so.
        """
        out = console(
            stderr=batch_options.json, quiet=batch_options.json and not sys.stderr.isatty()
        )
        live = (
            sys.stderr if batch_options.json else sys.stdout
        ).isatty() and not out.is_dumb_terminal
        waiting = Waiting(self.client, out, fix=self._start(plan), patience_s=PATIENCE_S)
        shown = BatchProgress(out, plan, live=live, waiting=waiting)
        later = _later(plan)
        try:
            with shown, interrupt.deferred():
                (self._run if submit else self._watch)(plan, batch_options, shown)
            later = f"it is done: `revalid batch report {plan.id}` writes reports"
            interrupt.check()
            report_formats = [name for name, _ in _targets(batch_options.reports)]
            batch_report = self.report(plan, previous, report_formats, expected)
            write_reports(batch_report, batch_options)
        except RevalidError as error:
            message = f"batch {plan.id}: {error}; {later}"
            report_error(type(error), message, json=batch_options.json, job_id=plan.id)
            return status_of(error)
        except KeyboardInterrupt:
            message = f"batch {plan.id}: interrupted; {later}"
            report_error("interrupted", message, json=batch_options.json, job_id=plan.id)
            return interrupt.STATUS
        if batch_options.json:
            print_json(batch_report.document(steps=False))
        else:
            shown.summary(batch_report)
        if (expectations := batch_report.expectations) is not None:
            return 1 if expectations.wrong else 0
        return 0 if batch_report.counts[Verdict.PASSED] == len(batch_report.jobs) else 1

    def _start(self, plan: Plan) -> str:
        embedded = self.client.settings.embedded
        return f"`revalid batch resume {plan.id}` starts one" if embedded else START

    def _run(self, plan: Plan, batch_options: BatchOptions, shown: BatchProgress) -> None:
        client = self.client
        with client._errors():
            self.store.go_on(plan.id)
        with BatchWorkers(client.settings, client, batch_options.concurrency, plan.id) as provider:
            slots = None if client.settings.embedded else batch_options.concurrency
            runner = BatchRunner(
                client,
                self.store,
                plan,
                send=provider.send,
                concurrency=slots,
                fail_fast=batch_options.fail_fast,
            )
            provider.start(runner.pending(), interrupt.check)
            runner.run(
                self._show(runner, shown),
                lambda: provider.check(runner.pending(), interrupt.check),
                interrupt.check,
            )

    def _watch(self, plan: Plan, _: BatchOptions, shown: BatchProgress) -> None:
        reader = BatchReader(self.client, self.store, plan)
        reader.follow(self._show(reader, shown), interrupt.check)

    def _show(self, reader: BatchReader, shown: BatchProgress) -> Callable[[Progress], None]:
        return lambda progress: shown.show(self.client, reader, progress)


def write_reports(batch_report: BatchReport, batch_options: BatchOptions) -> None:
    """Write the requested reports."""
    for name, path in _targets(batch_options.reports):
        write(batch_report, name, path)


def formats(reports: Sequence[str] | None) -> list[str]:
    """Return the format of each report, and check that its file can be written.

    Raises:
        InvalidJob: As :func:`_targets`, or a file cannot be written.
    """
    targets = _targets(reports)
    for _, path in targets:
        check_path(path)
    return [name for name, _ in targets]


def _targets(reports: Sequence[str] | None) -> list[tuple[str, Path]]:
    """Parse the format and path of each report.

    Raises:
        InvalidJob: A word is not FORMAT=PATH, or the format is unknown.
    """
    targets = []
    for word in reports or ():
        name, equals, path = word.partition("=")
        name = {"md": "markdown"}.get(name, name)
        if not equals or not path or name not in FORMATS:
            known = ", ".join(FORMATS)
            raise InvalidJob(f"--report {word}: write FORMAT=PATH, FORMAT one of {known}")
        targets.append((name, Path(path)))
    return targets


@contextmanager
def opened() -> Iterator[Batches]:
    """Open the batches of the broker in the settings."""
    with (
        attached(load_settings()) as settings,
        Client(settings) as client,
    ):
        ttl_s = max(settings.result_ttl_s, MIN_BATCH_TTL_S)
        store = BatchStore(client._redis, settings.home / "batches", ttl_s=ttl_s)
        yield Batches(client, store)


def _later(plan: Plan) -> str:
    return f"`revalid batch resume {plan.id}` goes on, `revalid batch cancel {plan.id}` ends it"
