"""The document of a batch."""

from datetime import timedelta
from typing import Any

import pytest

from revalid.jobs.result import JobResult, SandboxReport, StrategyReport, Verdict
from revalid.producer.report import Row
from tests.producer.report.samples import CREATED, FINISHED, failing, report, row, step, unfinished


def test_a_row_of_a_result_says_what_a_reader_compares() -> None:
    steps = (step("install"), step("test", 1))
    result = JobResult(
        id="a" * 32,
        verdict=Verdict.FAILED,
        sandbox=SandboxReport(kind="local"),
        image="",
        strategy=StrategyReport(name="npm", reason="package.json"),
        labels={"team": "shop"},
        attempts=2,
        queued_at=CREATED,
        started_at=FINISHED - timedelta(seconds=12.3456),
        finished_at=FINISHED,
        steps=steps,
        reused=True,
    )
    assert Row.of("shop", result, repeat=2) == Row(
        project="shop",
        id="a" * 32,
        verdict=Verdict.FAILED,
        failed_step="test",
        duration_s=12.346,
        repeat=2,
        labels={"team": "shop"},
        reused=True,
        sandbox="local",
        attempts=2,
        strategy="npm",
        steps=steps,
    )
    refused = result.model_copy(
        update={"started_at": None, "strategy": None, "steps": (), "error": "no"}
    )
    row = Row.of("shop", refused)
    assert (row.duration_s, row.strategy, row.failed_step, row.error) == (None, None, None, "no")


@pytest.mark.parametrize(
    ("fields", "state", "red"),
    [
        ({"verdict": Verdict.PASSED}, "passed", False),
        ({"verdict": Verdict.ERRORED, "error": "no engine"}, "errored", True),
        ({"verdict": Verdict.TIMED_OUT}, "timed_out", True),
        ({}, "pending", False),
        ({"error": "no such directory"}, "not_submitted", True),
    ],
)
def test_every_row_has_a_state(fields: dict[str, Any], state: str, red: bool) -> None:
    made = Row(project="a", **fields)
    assert (made.state, made.red) == (state, red)


def test_the_document_has_the_keys_that_were_promised() -> None:
    document = report([failing("a", "test", "boom\n"), unfinished("b")]).document()
    assert document["id"] == "b" * 12
    assert document["counts"]["failed"] == 1
    assert document["created_at"] == "2026-03-04T05:06:07Z"
    first, second = document["jobs"]
    promised = {"project": "a", "verdict": "failed", "failed_step": "test", "duration_s": 2.0}
    assert promised.items() <= first.items()
    assert (second["id"], second["verdict"]) == ("0" * 32, None)
    assert first["steps"][1]["stdout"] == "boom\n"


def test_a_document_without_steps_holds_no_output() -> None:
    made = report([failing("a", "test", "boom\n")])
    full, plain = made.document(), made.document(steps=False)
    del full["jobs"][0]["steps"]
    assert plain == full


def test_a_repeat_is_part_of_a_rows_title() -> None:
    assert [row("a", repeat=n).title for n in (1, 2)] == ["a", "a (repeat 2)"]
