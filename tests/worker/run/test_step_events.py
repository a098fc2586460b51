"""The events of steps."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from revalid.jobs.events import StepFinishedData
from revalid.jobs.reported_steps import steps_from_events
from revalid.jobs.result import StartReport, StepResult, StepStatus, TestCase, TestReport
from revalid.worker.run.step_events import finished_event
from tests.producer.cli.test_progress import event

ONE_FLAKY = TestReport(source="summary", passed=2, failed=0, flaky=1)
NONE = TestReport(source="report", passed=0, failed=0)
CASES = (TestCase(name="adds", status="failed", message="2 is not 3"),)
ONE_FAILED = TestReport(source="files", passed=1, failed=1, cases=CASES)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"exit_code": 143, "start": StartReport(ready_s=0.3, body="<html>")}, StepStatus.PASSED),
        ({"exit_code": 0, "start": StartReport(problem="it ended")}, StepStatus.FAILED),
        ({"exit_code": 0, "tests": NONE}, StepStatus.NO_TESTS),
        ({"exit_code": 0, "tests": ONE_FAILED}, StepStatus.FAILED),
        ({"exit_code": 1, "tests": ONE_FLAKY, "flaky_passes": True}, StepStatus.PASSED),
        ({"exit_code": 0, "tampered": "tests/a.js was changed"}, StepStatus.FAILED),
        ({"exit_code": 1, "allow_failure": True}, StepStatus.FAILED),
    ],
)
def test_event_of_a_step_tells_its_status_and_outcome(
    fields: dict[str, Any], status: StepStatus
) -> None:
    result = StepResult(name="check", stdout="a" * 9_000, **fields)
    data = finished_event(4, result)
    TypeAdapter(StepFinishedData).validate_python(data, strict=True, extra="forbid")
    (told,) = steps_from_events([event("step_finished", **data)])
    assert (told.status, told.outcome, told.ok) == (status, result.outcome, result.ok)
    assert len(str(data)) < 1_000
