"""What the results of one job keep of its output; tests of replays run real steps on it."""

from revalid.jobs.encoding import json_size
from revalid.jobs.result import StepResult, TestCase, TestReport
from revalid.worker.run.output_budget import TOTAL_OUTPUT_BYTES, OutputBudget

_LONG = StepResult(name="long", exit_code=0, stdout="x" * 2**22)


def test_all_results_together_keep_less_than_the_total() -> None:
    budget = OutputBudget(steps=20, stream_bytes=2**22)
    kept = [budget.bounded(_LONG) for _ in range(20)]
    assert sum(json_size(step.stdout) for step in kept) < TOTAL_OUTPUT_BYTES * 1.01
    assert kept[-1].truncated
    assert budget.stream_cap > 0


def test_a_short_result_stays_and_the_job_s_limit_holds() -> None:
    budget = OutputBudget(steps=1, stream_bytes=2_000)
    short = StepResult(name="short", exit_code=0, stdout="x")
    assert budget.bounded(short) == short
    assert budget.stream_cap == 2_000
    assert 2_000 < budget.bounded(_LONG).stdout.count("x") <= 4_000


def test_cases_that_do_not_fit_are_counted() -> None:
    cases = tuple(TestCase(name=f"{number:0100}", status="passed") for number in range(100))
    tests = TestReport(source="report", passed=100, failed=0, skipped=0, cases=cases)
    result = StepResult(name="test", exit_code=0, tests=tests)
    kept = OutputBudget(steps=1, stream_bytes=2_000).bounded(result).tests
    assert kept is not None
    assert 0 < len(kept.cases) < 100
    assert len(kept.cases) + kept.cases_omitted == 100
