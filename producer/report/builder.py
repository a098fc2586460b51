"""Builds the report of a batch from its rows, and compares it with an earlier one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from revalid.jobs.checks import CheckName
from revalid.jobs.result import Verdict
from revalid.producer.report.causes import find_causes
from revalid.producer.report.expected import Expected, Judge
from revalid.producer.report.model import (
    NOT_SUBMITTED,
    BatchReport,
    BrokenTest,
    Change,
    ChangedTest,
    Comparison,
    Row,
    count,
    verdicts,
)
from revalid.producer.report.single_tests import SingleTests


def build(
    *,
    id: str,
    name: str,
    created_at: datetime,
    finished_at: datetime | None,
    rows: Iterable[Row],
    keep: Callable[[Row], Row] = lambda row: row,
    previous: BatchReport | None = None,
    expected: Mapping[str, Expected] | None = None,
) -> BatchReport:
    """Build the report of a batch.

    Args:
        rows: The rows, in the order of the report.
        keep: Reduces a row to what the report shows; causes are found in the whole row.
        previous: An earlier batch to compare with.
        expected: What is expected of the projects, by name.
    """
    kept: list[Row] = []
    single_tests = SingleTests()
    judge = Judge(expected or {})

    def seen() -> Iterator[Row]:
        for row in rows:
            kept.append(keep(row))
            single_tests.add(row)
            judge.add(row)
            yield row

    causes = find_causes(seen())
    tests, tests_omitted = single_tests.result()
    report = BatchReport(
        id=id,
        name=name,
        created_at=created_at,
        finished_at=finished_at,
        counts=count(kept),
        jobs=tuple(kept),
        causes=causes,
        flaky=tuple(name for name, seen in verdicts(kept).items() if len(set(seen)) > 1),
        tests=tests,
        tests_omitted=tests_omitted,
        expectations=None if expected is None else judge.result(),
    )
    if previous is None:
        return report
    return report.model_copy(update={"comparison": compare(report, previous)})


def compare(current: BatchReport, previous: BatchReport) -> Comparison:
    """Compare the verdicts of two batches, by project name."""
    now, was = verdicts(current.jobs), verdicts(previous.jobs)
    refused = {row.project: row.error for row in current.jobs if row.state == NOT_SUBMITTED}
    unsteady = {*current.flaky, *previous.flaky}
    changes: dict[str, list[Change]] = {}
    unchanged = 0
    for project in dict.fromkeys((*now, *was, *refused)):
        new_verdict = _worst(now, project)
        reason = refused.get(project) if new_verdict is None else None
        change = Change(project=project, was=_worst(was, project), now=new_verdict, reason=reason)
        if (kind := _kind(change, flaky=project in unsteady)) is None:
            unchanged += 1
        else:
            changes.setdefault(kind, []).append(change)
    lists = {kind: tuple(group) for kind, group in changes.items()}
    compared = not (current.tests_omitted or previous.tests_omitted)
    return Comparison.model_validate(
        {
            "previous": previous.id,
            "unchanged": unchanged,
            **lists,
            "tests_broken": _changed(current, previous) if compared else (),
            "tests_mended": _changed(previous, current) if compared else (),
        }
    )


def _changed(batch: BatchReport, other: BatchReport) -> tuple[ChangedTest, ...]:
    """Return the tests that failed in one batch and not in the other, where both ran tests."""
    seen = {_key(test): {*test.projects, *test.flaky} for test in other.tests}
    projects = _tested(other)
    changed = (
        (test, [p for p in test.projects if p in projects and p not in seen.get(_key(test), ())])
        for test in batch.tests
    )
    return tuple(
        ChangedTest(runner=test.runner, file=test.file, name=test.name, projects=tuple(names))
        for test, names in changed
        if names
    )


def _tested(report: BatchReport) -> set[str]:
    """Return the projects whose tests ran."""
    passed = {
        row.project
        for row in report.jobs
        if any(proof.check is CheckName.TESTS for proof in row.proven)
    }
    return passed.union(*((*test.projects, *test.flaky) for test in report.tests))


def _key(test: BrokenTest) -> tuple[str | None, str | None, str]:
    return test.runner, test.file, test.name


def _kind(change: Change, *, flaky: bool) -> str | None:
    if change.reason is not None:
        return NOT_SUBMITTED
    if change.was is None:
        return "new"
    if change.now is None:
        return "missing"
    if flaky:
        return "flaky"
    passed, passes = (verdict is Verdict.PASSED for verdict in (change.was, change.now))
    if passed == passes:
        return None
    return "regressed" if passed else "fixed"


def _worst(seen: dict[str, list[Verdict]], project: str) -> Verdict | None:
    """Return the first verdict that is not passed, else passed; None if there is no verdict."""
    mine = seen.get(project)
    return next((v for v in mine if v is not Verdict.PASSED), mine[0]) if mine else None
