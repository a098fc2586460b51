"""What the steps of a job proved, and what they did not."""

from typing import Any

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.job import Job, StrategyName
from revalid.jobs.result import StepResult, TestReport
from revalid.worker.run.proof import proven, unproven
from revalid.worker.strategies.plan import Plan, PlannedStep, check, skipped
from tests.jobs.samples import SOURCE

BUILD = check(CheckName.BUILD, "build", "true")
TESTS = check(CheckName.TESTS, "test", "true")
LINT = check(CheckName.LINT, "lint", "true", allow_failure=True)
NO_TESTS = skipped(CheckName.TESTS, "test", "true", "no test script", absent=True)
WATCHING = skipped(CheckName.TESTS, "test", "true", "it watches", absent=False)


def result(planned: PlannedStep, **fields: Any) -> StepResult:
    """Return the result of a planned step."""
    step = planned.step
    forgiven = getattr(step, "allow_failure", False)
    base = {"name": getattr(step, "name", ""), "check": planned.check, "allow_failure": forgiven}
    return StepResult(**base | {"exit_code": 0} | fields)


def missing(*steps: tuple[PlannedStep, StepResult | None], **fields: Any) -> list[tuple[Any, ...]]:
    """Return what a job with these steps did not prove."""
    plan = Plan(StrategyName.NPM, "", tuple(planned for planned, _ in steps), ())
    finished = {index: ended for index, (_, ended) in enumerate(steps) if ended is not None}
    items = unproven(Job(source=SOURCE, **fields), plan, finished)
    return [(item.check, item.reason, item.decides) for item in items]


def skip(planned: PlannedStep, reason: str) -> tuple[PlannedStep, StepResult]:
    return planned, result(planned, exit_code=None, skipped_reason=reason)


def test_passed_steps_prove_their_checks() -> None:
    counted = TestReport(source="summary", passed=191, failed=0, skipped=2, flaky=1)
    steps = [
        result(BUILD),
        result(TESTS, tests=counted),
        result(TESTS),
        result(LINT, exit_code=1),
        StepResult(name="setup", exit_code=0),
    ]
    assert [proof.words for proof in proven(steps)] == [
        "built",
        "191 tests passed, 1 of them flaky, 2 skipped",
        "tests exited with 0, not counted",
    ]


@pytest.mark.parametrize(
    ("step", "fields", "expected"),
    [
        ((BUILD, result(BUILD)), {}, []),
        ((BUILD, result(BUILD, exit_code=2)), {}, [("build", "exit 2", True)]),
        ((BUILD, None), {}, [("build", "it did not end", True)]),
        ((LINT, result(LINT, exit_code=1)), {}, [("lint", "exit 1", False)]),
        ((LINT, result(LINT, exit_code=1)), {"require": ["lint"]}, [("lint", "exit 1", True)]),
        (skip(NO_TESTS, "no test script"), {}, [("tests", "no test script", False)]),
        (
            skip(NO_TESTS, "no test script"),
            {"require": ["tests"]},
            [("tests", "no test script", True)],
        ),
        (skip(WATCHING, "it watches"), {}, [("tests", "it watches", True)]),
        (
            skip(TESTS, "left out by --skip tests"),
            {"skip": ["tests"]},
            [("tests", "left out by --skip tests", False)],
        ),
        (
            (TESTS, result(TESTS, tests=TestReport(source="summary", passed=0, failed=0))),
            {},
            [("tests", "ran no test", True)],
        ),
    ],
)
def test_what_did_not_pass_is_unproven_and_may_decide(
    step: tuple[PlannedStep, StepResult | None],
    fields: dict[str, Any],
    expected: list[tuple[str, str, bool]],
) -> None:
    assert missing(step, **fields) == expected


def test_a_required_check_that_is_not_planned_decides() -> None:
    assert missing((BUILD, result(BUILD)), require=["start"]) == [
        ("start", "required, but this project has no such check", True)
    ]
