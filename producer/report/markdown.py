"""Renders a batch as Markdown that fits in a pull-request comment."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from revalid.jobs.counted import counted
from revalid.jobs.result import Verdict
from revalid.producer.report.model import (
    STATES,
    BatchReport,
    BrokenTest,
    Cause,
    Change,
    Comparison,
    Expectations,
    Row,
)
from revalid.producer.sanitize import one_line, seconds

_CAUSES, _ROWS, _CHANGES = 10, 50, 20
_CELL = 120

MARKS = {
    "passed": "✅",
    "failed": "❌",
    "incomplete": "❔",
    "timed_out": "⏱️",
    "errored": "⚠️",
    "rejected": "⛔",
    "cancelled": "⏹️",
    "not_submitted": "⛔",
    "pending": "⏳",
}


def to_markdown(report: BatchReport) -> str:
    """Render the report, with the first items of each list, below 65,536 characters."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: BatchReport) -> Iterator[str]:
    total, passed = len(report.jobs), report.counts["passed"]
    yield f"## revalid: {passed} of {total} passed"
    yield ""
    counts = [
        f"{MARKS[state]} {number} {words(state)}"
        for state, number in report.counts.items()
        if number
    ]
    count_text = " · ".join(counts) or "no projects"
    yield f"{count_text} — batch {_code(report.id)} of {_code(report.name)}"
    if reused := sum(row.reused for row in report.jobs):
        yield from ("", f"Reused verdicts of earlier runs: {reused}")
    if report.expectations:
        yield from _expectations(report.expectations)
    if report.comparison:
        yield from _comparison(report.comparison)
    yield from _passes(report.jobs)
    if report.causes:
        yield from _causes(report.causes)
    if report.tests:
        yield from _tests(report.tests, report.tests_omitted)
    if red := [row for row in report.jobs if row.red]:
        yield from _red(red)
    if report.flaky:
        yield from ("", f"Repeats disagree: {_names(report.flaky, _CHANGES)}")


def _passes(rows: Iterable[Row]) -> Iterator[str]:
    """Say which checks the passes rest on."""
    groups = Counter(
        ", ".join(dict.fromkeys(proof.check.value for proof in row.proven))
        for row in rows
        if row.verdict is Verdict.PASSED and row.proven
    )
    if groups:
        shown = " · ".join(f"{checks}: {number}" for checks, number in groups.most_common(_CAUSES))
        yield from ("", f"Passes rest on {shown}")


def _causes(causes: tuple[Cause, ...]) -> Iterator[str]:
    yield from (
        "",
        "### Causes",
        "",
        "| projects | check | what | for example |",
        "|--:|---|---|---|",
    )
    for cause in causes[:_CAUSES]:
        cells = (
            _code(words(cause.check) if cause.check in STATES else cause.check),
            _code(cause.title),
            _names(cause.projects, 3),
        )
        yield f"| {cause.number} | {' | '.join(cells)} |"
    yield from _more(len(causes) - _CAUSES, "cause")


def _expectations(expectations: Expectations) -> Iterator[str]:
    totals = " · ".join(f"{words(kind)} {n}" for kind, n in expectations.counts.items())
    yield from ("", "### Beside what was expected", "", totals)
    if expectations.wrong:
        yield from ("", "| project | is | expected | why |", "|---|---|---|---|")
    for judged in expectations.wrong[:_ROWS]:
        is_ = f"{words(judged.state)} ({words(judged.kind)})"
        reason = _code(judged.reason)
        yield f"| {_code(judged.project)} | {is_} | {words(judged.expected)} | {reason} |"
    yield from _more(len(expectations.wrong) - _ROWS, "project")


def _tests(tests: tuple[BrokenTest, ...], omitted: int) -> Iterator[str]:
    yield from ("", "### Tests", "", "| failed in | flaky in | test | for example |")
    yield "|--:|--:|---|---|"
    for test in tests[:_CAUSES]:
        names = _names(test.projects or test.flaky, 3)
        yield f"| {test.number} | {len(test.flaky)} | {_code(test.title)} | {names} |"
    yield from _more(len(tests) + omitted - _CAUSES, "test")


def _red(rows: list[Row]) -> Iterator[str]:
    yield from (
        "",
        "### Did not pass",
        "",
        "| project | verdict | step | time |",
        "|---|---|---|--:|",
    )
    for row in rows[:_ROWS]:
        step = _code(row.failed_step or row.error or "")
        took = seconds(row.duration_s) if row.duration_s is not None else ""
        took = "reused" if row.reused else took
        yield f"| {_code(row.title)} | {MARKS[row.state]} {words(row.state)} | {step} | {took} |"
    yield from _more(len(rows) - _ROWS, "project")


def _comparison(comparison: Comparison) -> Iterator[str]:
    yield from ("", f"### Since {_code(comparison.previous)}", "")
    lists = {
        "Regressed": comparison.regressed,
        "Fixed": comparison.fixed,
        "Flaky": comparison.flaky,
        "New": comparison.new,
        "Missing": comparison.missing,
        "Not submitted": comparison.not_submitted,
    }
    for title, changes in lists.items():
        if changes:
            shown = ", ".join(_change(change) for change in changes[:_CHANGES])
            more = len(changes) - _CHANGES
            yield f"- **{title} {len(changes)}**: {shown}{f' and {more} more' if more > 0 else ''}"
    tests = {"Tests broken": comparison.tests_broken, "Tests mended": comparison.tests_mended}
    for title, changed in tests.items():
        if changed:
            test_names = tuple(f"{test.name} ({', '.join(test.projects[:3])})" for test in changed)
            yield f"- **{title} {len(changed)}**: {_names(test_names, _CHANGES)}"
    yield f"- Unchanged {comparison.unchanged}"


def _change(change: Change) -> str:
    was, now = (words(verdict) if verdict else "none" for verdict in (change.was, change.now))
    why = f", {_code(change.reason)}" if change.reason else ""
    return f"{_code(change.project)} ({was} → {now}{why})"


def words(state: str) -> str:
    """Return a state in words."""
    return state.replace("_", " ")


def _names(names: tuple[str, ...], number: int) -> str:
    more = len(names) - number
    shown = ", ".join(_code(name) for name in names[:number])
    return f"{shown} and {more} more" if more > 0 else shown


def _more(number: int, what: str) -> Iterator[str]:
    if number > 0:
        yield from ("", f"{counted(number, f'more {what}')}.")


def _code(text: str) -> str:
    """Quote text as a code span, so that it is not markup, a mention or a cell border."""
    line = one_line(text)
    if len(line) > _CELL:
        line = f"{line[:_CELL]}…"
    if not line:
        return ""
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}".replace("|", "\\|")
