"""Prints the progress and the summary of a batch."""

import time
from collections import deque
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from revalid.jobs.result import Verdict
from revalid.producer.batch.reader import BatchReader, Progress
from revalid.producer.batch.report_rows import rows
from revalid.producer.batch.state import Plan
from revalid.producer.cli.batch.expectations import print_expectations, print_tests
from revalid.producer.cli.waiting import Waiting
from revalid.producer.client import Client
from revalid.producer.report.model import STATES, BatchReport, Change, Comparison, Row
from revalid.producer.sanitize import one_line, seconds

_RATE_S = 60.0
_SAID_EVERY_S = 10.0
_CAUSES = 10
_TESTS = 10
_SLOWEST = 3
_STYLE = {
    "passed": "green",
    "failed": "red",
    "incomplete": "yellow",
    "errored": "magenta",
    "timed_out": "red",
}


class BatchProgress:
    """Prints a line for each project that did not pass, and a line of counts below.

    Args:
        live: Whether to redraw the line of counts in place.
        waiting: Prints why no job runs.
    """

    def __init__(
        self, out: Console, plan: Plan, *, live: bool, waiting: Waiting | None = None
    ) -> None:
        self._out, self._plan, self._waiting = out, plan, waiting
        self._refused: set[int] = set()
        self._live = Live(console=out, auto_refresh=False, transient=True) if live else None
        self._ends: deque[tuple[float, int]] = deque()
        self._said = 0.0

    def __enter__(self) -> Self:
        self._out.print(Text.assemble(("batch ", "dim"), self._plan.id))
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, client: Client, reader: BatchReader, progress: Progress) -> None:
        """Show the batch's progress."""
        for at, verdict in progress.ended:
            if verdict is not Verdict.PASSED:
                (row,) = rows(client, self._alone(at), {0: reader.jobs[at]}, {})
                self._out.print(_row_line(row))
        for at in sorted(reader.errors.keys() - self._refused):
            self._refused.add(at)
            (row,) = rows(client, self._alone(at), {}, {0: reader.errors[at]})
            self._out.print(_row_line(row))
        if self._waiting is not None and not progress.running:
            self._look(reader, self._waiting)
        now = time.monotonic()
        self._ends.append((now, progress.worked))
        while now - self._ends[0][0] > _RATE_S:
            self._ends.popleft()
        line = self._line(progress)
        if self._live is not None:
            self._live.update(line, refresh=True)
        elif now - self._said > _SAID_EVERY_S:
            self._said = now
            self._out.print(line)

    def _look(self, reader: BatchReader, waiting: Waiting) -> None:
        if (job_id := next(iter(reader.pending()), None)) is not None:
            waiting.look(job_id)

    def _alone(self, at: int) -> Plan:
        plan = self._plan
        return Plan(
            plan.id, plan.source, plan.created_at, plan.options, plan.fresh, [plan.entries[at]]
        )

    def _line(self, progress: Progress) -> Text:
        words: list[str | tuple[str, str]] = [f"  {progress.done}/{progress.total}"]
        for verdict, number in sorted(progress.verdicts.items()):
            words += ["  ", (f"{verdict.replace('_', ' ')} {number}", _STYLE.get(verdict, "red"))]
        if progress.refused:
            words += ["  ", (f"not submitted {progress.refused}", "red")]
        waiting = progress.submitted - progress.verdicts.total() - progress.running
        words.append((f"  running {progress.running}  queued {max(0, waiting)}", "dim"))
        (start, before), (end, after) = self._ends[0], self._ends[-1]
        if progress.running and after > before and end > start:
            rate = (after - before) / (end - start)
            left = seconds((progress.total - progress.done) / rate)
            words.append((f"  {rate:.2g}/s, about {left} left", "dim"))
        return Text.assemble(*words)

    def summary(self, report: BatchReport) -> None:
        """Print the causes, the slowest projects and the counts."""
        out = self._out
        if report.comparison is not None:
            self.comparison(report.comparison)
        for cause in report.causes[:_CAUSES]:
            check = cause.check.replace("_", " ") if cause.check in STATES else cause.check
            names = ", ".join(cause.projects[:3]) + (" …" if cause.number > 3 else "")
            out.print(Text.assemble((f"  {cause.number:>5}  ", "red"), one_line(cause.title)))
            out.print(Text.assemble(" " * 9, (f"{check}: {one_line(names)}", "dim")))
        timed = sorted((row for row in report.jobs if row.spent_s), key=_spent, reverse=True)
        if len(timed) > _SLOWEST:
            slow = (f"{one_line(row.title)} {seconds(row.spent_s)}" for row in timed[:_SLOWEST])
            out.print(Text.assemble(("  slowest  ", "dim"), ", ".join(slow)))
        print_tests(out, report)
        if report.flaky:
            out.print(Text.assemble(("  flaky    ", "yellow"), one_line(", ".join(report.flaky))))
        words: list[str | tuple[str, str]] = [f"{len(report.jobs)} projects"]
        for state, number in report.counts.items():
            if number:
                words += ["  ", (f"{state.replace('_', ' ')} {number}", _STYLE.get(state, "red"))]
        if reused := sum(row.reused for row in report.jobs):
            words += ["  ", (f"reused {reused}", "dim")]
        out.print(Text.assemble(*words))
        if report.expectations is not None:
            print_expectations(out, report.expectations)

    def comparison(self, comparison: Comparison) -> None:
        """Print what changed since an earlier batch."""
        out = self._out
        out.print(
            Text(f"since batch {comparison.previous}: {comparison.unchanged} unchanged", "dim")
        )
        kinds = ("regressed", "fixed", "new", "missing", "not_submitted", "flaky")
        for kind in kinds:
            changes: tuple[Change, ...] = getattr(comparison, kind)
            for change in changes:
                change_text = f"{change.was or 'none'} → {change.now or 'none'}"
                if change.reason:
                    change_text += f", {one_line(change.reason)}"
                style = {"regressed": "red", "not_submitted": "red", "fixed": "green"}.get(kind)
                out.print(
                    Text.assemble(
                        (f"  {kind.replace('_', ' '):<13}  ", style or "yellow"),
                        one_line(change.project),
                        (f"  {change_text}", "dim"),
                    )
                )
        changed = {"test broke": comparison.tests_broken, "test mended": comparison.tests_mended}
        for kind, tests in changed.items():
            for test in tests[:_TESTS]:
                title = f"{test.file}: {test.name}" if test.file else test.name
                names = ", ".join(test.projects[:3]) + (" …" if len(test.projects) > 3 else "")
                out.print(
                    Text.assemble(
                        (f"  {kind:<13}  ", "red" if kind == "test broke" else "green"),
                        one_line(title),
                        (f"  {one_line(names)}", "dim"),
                    )
                )
            if len(tests) > _TESTS:
                out.print(Text(f"  {kind:<13}  {len(tests) - _TESTS} more", "dim"))


def _spent(row: Row) -> float:
    return row.spent_s


def _row_line(row: Row) -> Text:
    why = row.failed_step or row.error or ""
    return Text.assemble(
        ("  ✗ ", "red"),
        one_line(row.title),
        (f"  {row.state.replace('_', ' ')}", _STYLE.get(row.state, "red")),
        (f"  {one_line(why)}", "dim"),
    )
