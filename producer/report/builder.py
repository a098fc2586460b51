"""Builds the report of a batch from its rows, and compares it with an earlier one."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from revalid.jobs.result import Verdict
from revalid.producer.report.causes import find_causes
from revalid.producer.report.model import (
    NOT_SUBMITTED,
    BatchReport,
    Change,
    Comparison,
    Row,
    count,
    verdicts,
)


def build(
    *,
    id: str,
    name: str,
    created_at: datetime,
    finished_at: datetime | None,
    rows: Iterable[Row],
    keep: Callable[[Row], Row] = lambda row: row,
    previous: BatchReport | None = None,
) -> BatchReport:
    """Build the report of a batch.

    Args:
        rows: The rows, in the order of the report.
        keep: Reduces a row to what the report shows; causes are found in the whole row.
        previous: An earlier batch to compare with.
    """
    kept: list[Row] = []

    def seen() -> Iterator[Row]:
        for row in rows:
            kept.append(keep(row))
            yield row

    causes = find_causes(seen())
    report = BatchReport(
        id=id,
        name=name,
        created_at=created_at,
        finished_at=finished_at,
        counts=count(kept),
        jobs=tuple(kept),
        causes=causes,
        flaky=tuple(name for name, seen in verdicts(kept).items() if len(set(seen)) > 1),
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
    return Comparison.model_validate({"previous": previous.id, "unchanged": unchanged, **lists})


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
