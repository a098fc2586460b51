"""Renders a batch as CSV, with one line per row."""

import csv
import io

from revalid.producer.report.model import BatchReport, Row
from revalid.producer.sanitize import one_line

_COLUMNS = (
    "project",
    "repeat",
    "id",
    "verdict",
    "failed_step",
    "duration_s",
    "queued_s",
    "error",
    "strategy",
    "sandbox",
    "attempts",
    "reused",
    "tests_executed",
    "tests_failed",
    "proven",
    "labels",
    "cause",
)

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters that begin a formula, full-width forms included."""


def to_csv(report: BatchReport) -> str:
    """Yield the report as lines; the first one names the columns."""
    causes = {name: cause.title for cause in reversed(report.causes) for name in cause.projects}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in report.jobs:
        writer.writerow(_cells(row, causes.get(row.project, "") if row.red else ""))
    return out.getvalue()


def _cells(row: Row, cause: str) -> list[str]:
    labels = " ".join(f"{name}={value}" for name, value in row.labels.items())
    proven = "; ".join(f"{proof.step}: {proof.words}" for proof in row.proven)
    fields = row.model_dump(include=set(_COLUMNS))
    fields |= {"labels": labels, "cause": cause, "proven": proven}
    fields["verdict"] = row.state
    return [_cell(fields[name]) for name in _COLUMNS]


def _cell(value: object) -> str:
    """Convert a value to text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = one_line(str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text
