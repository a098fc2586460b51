"""Rows and reports that these tests share."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from revalid.jobs.result import StepResult, Verdict
from revalid.producer.report import BatchReport, Row, build

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FINISHED = datetime(2026, 3, 4, 5, 16, 7, tzinfo=UTC)


def step(name: str, exit_code: int | None = 0, **fields: Any) -> StepResult:
    """A step that took a second."""
    return StepResult.model_validate(
        {"name": name, "exit_code": exit_code, "duration_s": 1.0, **fields}
    )


def row(project: str, *steps: StepResult, **fields: Any) -> Row:
    """Return the row of a job, failed if a step failed; ``fields`` replace its own."""
    failed = next((step for step in steps if not step.ok), None)
    made: dict[str, Any] = {
        "project": project,
        "id": f"{abs(hash(project)):032x}"[:32],
        "verdict": Verdict.FAILED if failed else Verdict.PASSED,
        "failed_step": failed.name if failed else None,
        "duration_s": float(len(steps)),
        "attempts": 1,
        "sandbox": "dagger",
        "strategy": "npm",
        "steps": steps,
    }
    return Row.model_validate(made | fields)


def failing(project: str, check: str, stdout: str = "", stderr: str = "", **fields: Any) -> Row:
    """The row of a job whose last step failed and printed this."""
    return row(project, step("install"), step(check, 1, stdout=stdout, stderr=stderr), **fields)


def unfinished(project: str) -> Row:
    """The row of a job that is not done."""
    return Row(project=project, id="0" * 32)


def report(rows: Sequence[Row], **fields: Any) -> BatchReport:
    """The report of a batch of these rows."""
    made = {"id": "b" * 12, "name": "apps", "created_at": CREATED, "finished_at": FINISHED}
    return build(**{**made, **fields}, rows=rows)
