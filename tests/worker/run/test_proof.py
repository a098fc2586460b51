"""What the steps of a job proved, and what they did not."""

from dataclasses import replace
from typing import Any

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.job import Job, StrategyName
from revalid.jobs.result import PageReport, RenderReport, StartReport, StepResult, TestReport
from revalid.worker.run.proof import proven, unproven
from revalid.worker.serving import Probe
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


PAGE = PageReport(path="/", width="desktop", errors=("request /a.png: 404",))
SERVER = replace(check(CheckName.START, "start", "true", allow_failure=True), probe=Probe())
UP = StartReport(ready_s=1.0, port=3000, path="/", status=200)


def started(render: RenderReport | None) -> StepResult:
    return result(SERVER, exit_code=143, start=UP, render=render)


def test_pages_are_proven_beside_their_server() -> None:
    render = RenderReport(pages=(PAGE, PAGE.model_copy(update={"width": "phone"})), left_out=2)
    proofs = [(proof.check, proof.words) for proof in proven([started(render)])]
    assert proofs[-1] == ("render", "rendered 1 page, 2 errors on it, 2 more not opened")
    assert missing((SERVER, started(render)), require=["render"]) == []


@pytest.mark.parametrize(
    ("render", "reason"),
    [
        (RenderReport(problem="/ (desktop): it is blank"), "/ (desktop): it is blank"),
        (RenderReport(not_judged="no Chromium"), "no Chromium"),
        (None, "its / is no HTML page"),
    ],
)
def test_pages_that_are_not_proven_decide_only_where_required(
    render: RenderReport | None, reason: str
) -> None:
    step = (SERVER, started(render))
    assert [proof.check for proof in proven([step[1]])] == ["start"]
    assert missing(step, require=["render"]) == [("render", reason, True)]
    assert missing(step) == ([("render", reason, False)] if render else [])
    assert missing(step, skip=["render"])[-1] == ("render", "left out by --skip render", False)


def test_a_required_check_that_is_not_planned_decides() -> None:
    assert missing((BUILD, result(BUILD)), require=["start"]) == [
        ("start", "required, but this project has no such check", True)
    ]
