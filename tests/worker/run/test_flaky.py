"""Failed tests that run again by themselves."""

import pytest

from revalid.jobs.result import StepResult, TestReport
from revalid.worker.run.flaky import again_command, failed_tests, judged_again
from revalid.worker.run.runner_summaries import read_summary

OUTPUTS = {
    "bun:test": (
        "src/a.test.ts:\n(pass) one [0.12ms]\n\x1b[31m(fail)\x1b[0m updates > the date [1.02ms]\n"
        " 1 pass\n 1 fail\n",
        ["updates > the date"],
    ),
    "vitest": (" FAIL  src/a.test.ts > updates > the date\nAssertionError: x\n", None),
    "jest": ("  \u25cf updates \u203a the date\n\n    expect(received)\n", None),
    "node:test": ("  \u2716 the date (1.2ms)\n", ["the date"]),
    "pytest": (
        "FAILED tests/test_a.py::test_date[a b] - assert 1 == 2\nFAILED test_b.py::test_c\n",
        ["tests/test_a.py::test_date[a b]", "test_b.py::test_c"],
    ),
}


@pytest.mark.parametrize("runner", OUTPUTS)
def test_the_names_of_failed_tests_are_read(runner: str) -> None:
    output, names = OUTPUTS[runner]
    found = failed_tests(runner, output)
    assert found == names if names else [name.split()[-1] for name in found] == ["date"]


def test_an_unknown_runner_names_none() -> None:
    assert failed_tests("phpunit", "(fail) a") == []


@pytest.mark.parametrize(
    ("command", "runner", "names", "again"),
    [
        (
            "cd server && bun test ./a.test.ts",
            "bun:test",
            ["x > it's (1)"],
            "cd server && bun test ./a.test.ts -t '(it'\"'\"'s\\ \\(1\\))'",
        ),
        ("npm run test", "vitest", ["a.ts > x", "y"], "npm run test -- -t '(x|y)'"),
        ("bun run test", "jest", ["x"], "bun run test -t '(x)'"),
        (
            "node --import tsx --test ./a.ts",
            "node:test",
            ["x"],
            "node --import tsx --test --test-name-pattern=x ./a.ts",
        ),
        ("npm run test", "node:test", ["x"], None),
        (
            ".venv/bin/python -m pytest",
            "pytest",
            ["a.py::b[c d]"],
            ".venv/bin/python -m pytest 'a.py::b[c d]'",
        ),
        ("make test", "phpunit", ["x"], None),
    ],
)
def test_only_the_failed_tests_run_again(
    command: str, runner: str, names: list[str], again: str | None
) -> None:
    assert again_command(command, runner, names) == again


def first() -> StepResult:
    report = TestReport(runner="bun:test", source="summary", passed=8, failed=2)
    return StepResult(name="test", exit_code=1, stdout="out", tests=report)


def test_what_passes_then_is_flaky() -> None:
    again = "(pass) a\n(fail) b [1ms]\n 1 pass\n 1 fail\n"
    judged = judged_again(first(), ["a", "b"], read_summary(again), again)
    assert judged.tests is not None
    assert (judged.tests.passed, judged.tests.failed, judged.tests.flaky) == (9, 1, 1)
    assert [(case.name, case.flaky) for case in judged.tests.cases] == [("a", True), ("b", False)]
    assert judged.stdout == "out\n[revalid: ran 2 failed tests again, 1 passed]\n"
    assert judged.status == "failed"


def test_flaky_tests_alone_fail_unless_they_are_allowed() -> None:
    output = "(pass) a\n(pass) b\n 2 pass\n 0 fail\nRan 2 tests across 1 file.\n"
    judged = judged_again(first(), ["a", "b"], read_summary(output), output)
    assert (judged.status, judged.outcome) == (
        "failed",
        "exit 1, 2 flaky tests passed when run again",
    )
    allowed = judged.model_copy(update={"flaky_passes": True})
    assert (allowed.status, allowed.ok) == ("passed", True)


@pytest.mark.parametrize("output", ["", " 0 pass\n 2 fail\n", "No tests found!\n"])
def test_a_second_run_that_says_nothing_changes_nothing(output: str) -> None:
    assert judged_again(first(), ["a", "b"], read_summary(output), output) == first()
