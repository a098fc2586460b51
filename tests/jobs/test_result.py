"""Results: which step decides, and the JSON document that ``--json`` prints."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from revalid.jobs.result import (
    JobResult,
    SandboxReport,
    SourceReport,
    StepResult,
    TestReport,
    Verdict,
)

PASSED = StepResult(name="install", exit_code=0)
FAILED = StepResult(name="build", exit_code=2)
KILLED = StepResult(name="test", exit_code=143, timed_out=True)
BROKEN = StepResult(name="write", op="write_file", exit_code=None)
SKIPPED = StepResult(name="lint", skipped_reason="no such script")
NO_TESTS = StepResult(
    name="a", exit_code=0, tests=TestReport(source="summary", passed=0, failed=0, skipped=3)
)
FORGIVEN = StepResult(name="audit", exit_code=1, allow_failure=True)


def result(*steps: StepResult, **fields: Any) -> JobResult:
    made = {
        "id": "0" * 32,
        "verdict": Verdict.PASSED,
        "image": "node:20",
        "attempts": 1,
        "queued_at": datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC),
        "started_at": None,
        "finished_at": datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        "steps": steps,
    }
    return JobResult.model_validate(made | fields)


@pytest.mark.parametrize("step", [PASSED, SKIPPED, FORGIVEN], ids=lambda step: step.name)
def test_a_step_that_leaves_the_job_free_to_pass(step: StepResult) -> None:
    assert step.ok
    assert result(step).failed_step is None


@pytest.mark.parametrize("step", [FAILED, KILLED, BROKEN], ids=lambda step: step.name)
def test_a_step_that_keeps_the_job_from_passing(step: StepResult) -> None:
    assert not step.ok
    assert result(step).failed_step == step.name


def test_a_step_result_has_neutral_defaults() -> None:
    step = StepResult(name="install")
    assert (step.op, step.command, step.exit_code, step.skipped_reason) == (
        "exec",
        None,
        None,
        None,
    )
    assert (step.stdout, step.stderr, step.stdout_bytes, step.stderr_bytes) == ("", "", 0, 0)
    flags = (step.truncated, step.timed_out, step.cached, step.allow_failure)
    assert flags == (False, False, False, False)


def test_a_timeout_may_be_allowed_too() -> None:
    assert KILLED.model_copy(update={"allow_failure": True}).ok


def test_the_failed_step_is_the_first_that_is_not_ok() -> None:
    steps = (PASSED, SKIPPED, FORGIVEN, KILLED, PASSED, FAILED)
    assert result(*steps).failed_step == "test"
    assert result().failed_step is None


def test_only_passed_and_failed_judge_the_project() -> None:
    judging = {verdict for verdict in Verdict if verdict.judges_project}
    assert judging == {Verdict.PASSED, Verdict.FAILED}
    designed = {"passed", "failed", "incomplete", "timed_out"} | {
        "cancelled",
        "rejected",
        "errored",
    }
    assert set(Verdict) == designed


def test_json_brings_a_result_back() -> None:
    made = result(
        PASSED,
        SKIPPED,
        FAILED,
        sandbox=SandboxReport(kind="local", fallback_reason="no engine"),
        source=SourceReport(digest="sha256:ab", files=1, size_bytes=2),
        tools={"node": "20.1.0"},
        labels={"app": "todo"},
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert JobResult.model_validate_json(made.model_dump_json()) == made
    assert JobResult.model_validate(made.model_dump()) == made


def test_computed_fields_are_written_and_never_believed() -> None:
    made = result(FAILED, started_at=datetime(2026, 1, 2, 3, 4, 4, tzinfo=UTC))
    document = made.model_dump(mode="json")
    assert (document["failed_step"], document["duration_s"]) == ("build", 2.0)
    assert document["steps"][0]["status"] == "failed"
    document |= {"failed_step": "none", "duration_s": 9.0}
    document["steps"][0]["status"] = "passed"
    assert JobResult.model_validate(document) == made
    assert JobResult.model_validate_json(json.dumps(document)).failed_step == "build"
    with pytest.raises(ValidationError, match="failed_steps"):
        JobResult.model_validate(document | {"failed_steps": "build"})


@pytest.mark.parametrize(
    ("step", "status", "outcome"),
    [
        (PASSED, "passed", ""),
        (FAILED, "failed", "exit 2"),
        (FORGIVEN, "failed", "exit 1"),
        (BROKEN, "failed", "its end was not seen"),
        (KILLED, "timed_out", "timed out"),
        (SKIPPED, "skipped", "skipped: no such script"),
        (NO_TESTS, "no_tests", "ran no test"),
        (NO_TESTS.model_copy(update={"exit_code": 1}), "failed", "exit 1"),
        (NO_TESTS.model_copy(update={"exit_code": 5}), "failed", "exit 5"),
        (
            StepResult(
                name="a",
                exit_code=5,
                tests=TestReport(runner="pytest", source="summary", passed=0, failed=0),
            ),
            "no_tests",
            "ran no test",
        ),
        (
            StepResult(
                name="a", exit_code=0, tests=TestReport(source="summary", passed=3, failed=1)
            ),
            "failed",
            "exit 0, although 1 of 4 tests failed",
        ),
        (
            StepResult(
                name="a",
                exit_code=1,
                tests=TestReport(source="report", passed=5, failed=1, flaky=2),
            ),
            "failed",
            "exit 1, 1 of 6 tests failed, 2 flaky tests passed when run again",
        ),
        (
            StepResult(name="a", exit_code=0, cancelled=True, timed_out=True),
            "cancelled",
            "cancelled",
        ),
        (
            StepResult(name="a", exit_code=0, limit_exceeded="memory", limit_value="1 GiB"),
            "limit_exceeded",
            "over its memory limit of 1 GiB",
        ),
    ],
)
def test_a_step_has_one_status(step: StepResult, status: str, outcome: str) -> None:
    assert (step.status, step.outcome) == (status, outcome)
    assert step.model_dump(mode="json")["status"] == status


def test_the_document_has_the_keys_that_were_promised() -> None:
    document = result(PASSED).model_dump(mode="json")
    promised = "id verdict sandbox image source attempts queued_at started_at finished_at steps"
    ours = "schema_version error enforcement strategy tools notes labels artifacts reused queued_s"
    ours += " duration_s failed_step proven unproven services overlay"
    assert document.keys() == {*promised.split(), *ours.split()}
    assert document["sandbox"].keys() == {"kind", "fallback_reason", "image_digest"}
    assert document["source"].keys() == {"digest", "files", "size_bytes", "left_out"}
    promised = "name command exit_code stdout stderr stdout_bytes stderr_bytes truncated"
    promised += (
        " duration_s timed_out limit_exceeded limit_value cancelled cached saved_s skipped_reason"
    )
    promised += " tests check tampered flaky_passes start"
    (step,) = document["steps"]
    assert step.keys() == {
        *promised.split(),
        "op",
        "status",
        "allow_failure",
        "limit_exceeded",
        "limit_value",
    }


def test_other_languages_can_read_the_words_and_times_of_the_document() -> None:
    document = result(FAILED, verdict="failed").model_dump(mode="json")
    assert document["verdict"] == "failed"
    assert document["queued_at"] == "2026-01-02T03:04:05.006000Z"
    assert document["started_at"] is None


def test_a_result_is_frozen_and_refuses_unknown_fields_and_versions() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(result(), "verdict", Verdict.FAILED)  # noqa: B010
    for fields in ({"verdicts": "passed"}, {"schema_version": 2}, {"verdict": "ok"}):
        with pytest.raises(ValidationError):
            result(**fields)
