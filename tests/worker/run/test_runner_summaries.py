# ruff: noqa: RUF001
"""Summaries of test runners, as they print them."""

import pytest

from revalid.jobs.result import TestReport
from revalid.worker.run.runner_summaries import read_summary

SUMMARIES = {
    "vitest": (
        "\x1b[2m Test Files \x1b[22m \x1b[1m\x1b[32m2 passed\x1b[39m (2)\n"
        "\x1b[2m      Tests \x1b[22m \x1b[1m\x1b[31m1 failed\x1b[39m\x1b[2m | \x1b[22m"
        "\x1b[1m\x1b[32m3 passed\x1b[39m | 1 skipped (5)\n   Duration  300ms\n",
        (3, 1, 1),
    ),
    "vitest without files": ("No test files found, exiting with code 0\n", (0, 0, 0)),
    "jest": (
        "Test Suites: 1 failed, 1 passed, 2 total\n"
        "Tests:       1 failed, 2 skipped, 5 passed, 8 total\nSnapshots:   0 total\n",
        (5, 1, 2),
    ),
    "jest, all well": ("Tests:       5 passed, 5 total\nTime:        0.4 s\n", (5, 0, 0)),
    "jest without tests": ("No tests found, exiting with code 0\n", (0, 0, 0)),
    "bun:test": (
        " 190 pass\n 1 skip\n 1 fail\n 402 expect() calls\nRan 192 tests across 20 files. [5.1s]\n",
        (190, 1, 1),
    ),
    "node:test": (
        "ℹ tests 5\nℹ suites 1\nℹ pass 3\nℹ fail 1\nℹ cancelled 0\nℹ skipped 1\nℹ todo 0\n",
        (3, 1, 1),
    ),
    "node:test as TAP": (
        "TAP version 13\n# Subtest: a\nok 1 - a\n1..1\n# tests 1\n# pass 1\n# fail 0\n"
        "# skipped 0\n",
        (1, 0, 0),
    ),
    "node:test without tests": ("ℹ tests 0\nℹ suites 0\nℹ pass 0\nℹ fail 0\n", (0, 0, 0)),
    "mocha": ("\n  5 passing (20ms)\n  1 pending\n  2 failing\n\n  1) adds\n", (5, 2, 1)),
    "ava": ("  ✔ adds\n  ─\n\n  5 tests passed\n  1 test failed\n", (5, 1, 0)),
    "jasmine": ("5 specs, 1 failure, 1 pending spec\nFinished in 0.1 seconds\n", (3, 1, 1)),
    "playwright": (
        "  1 failed\n    [chromium] a.spec.ts\n  2 skipped\n  3 passed (5.0s)\n",
        (3, 1, 2),
    ),
    "pytest": ("=== 1 failed, 3 passed, 2 skipped, 1 warning in 0.12s ===\n", (3, 1, 2)),
    "pytest, quiet": ("...\n3 passed in 0.12s\n", (3, 0, 0)),
    "pytest with errors": ("= 2 passed, 1 error in 1.50s =\n", (2, 1, 0)),
    "pytest, long": ("===== 3 passed in 65.20s (0:01:05) =====\n", (3, 0, 0)),
    "pytest without tests": ("=== no tests ran in 0.01s ===\n", (0, 0, 0)),
    "unittest": ("Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=1, skipped=1)\n", (2, 2, 1)),
    "unittest, all well": ("Ran 1 test in 0.000s\n\nOK\n", (1, 0, 0)),
    "unittest without tests": ("Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", (0, 0, 0)),
    "deno": ("\nok | 5 passed | 0 failed (3ms)\n", (5, 0, 0)),
    "cargo": (
        "test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out\n",
        (4, 1, 2),
    ),
    "rspec": ("7 examples, 2 failures, 1 pending\n", (4, 2, 1)),
    "minitest": ("5 runs, 9 assertions, 1 failures, 1 errors, 1 skips\n", (2, 2, 1)),
    "phpunit": ("OK (5 tests, 9 assertions)\n", (5, 0, 0)),
    "phpunit, failed": (
        "FAILURES!\nTests: 5, Assertions: 9, Failures: 1, Skipped: 1.\n",
        (3, 1, 1),
    ),
    "pest": ("  Tests:    1 failed, 12 passed (20 assertions)\n", (12, 1, 0)),
    "maven": ("[INFO] Tests run: 5, Failures: 1, Errors: 0, Skipped: 1\n", (3, 1, 1)),
    "dotnet": (
        "Passed!  - Failed:     0, Passed:     5, Skipped:     1, Total:     6\n",
        (5, 0, 1),
    ),
    "TAP": ("1..3\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP later\n", (1, 1, 1)),
    "two workspaces": (
        "Tests:       5 passed, 5 total\n\nTests:       2 passed, 2 total\n",
        (7, 0, 0),
    ),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_is_read(name: str) -> None:
    text, counts = SUMMARIES[name]
    summary = read_summary(f"> app@1.0.0 test\n> runner\n\n{text}\nDone.\n")
    assert summary is not None
    assert (summary.passed, summary.failed, summary.skipped) == counts
    assert summary.executed == counts[0] + counts[1]


@pytest.mark.parametrize(
    "text",
    ["", "all good\n", "12 passed checks\n", "Tests are fun\n", "ok, done\n", "ok 1 - no plan\n"],
)
def test_what_is_no_summary_is_none(text: str) -> None:
    assert read_summary(text) is None


def test_the_runner_is_named() -> None:
    text = "Tests:       5 passed, 5 total\n 3 pass\n 0 fail\n"
    assert read_summary(text) == TestReport(
        runner="jest, bun:test", source="summary", passed=8, failed=0
    )


@pytest.mark.parametrize(
    "prefix", ["packages/web test: ", "@app/web:test: ", "@app/web:test:unit: ", "[web] "]
)
def test_what_a_task_runner_puts_before_a_line_is_left_out(prefix: str) -> None:
    lines = f"{prefix}      Tests  3 passed | 1 failed (4)\n"
    report = read_summary(lines)
    assert report is not None
    assert (report.runner, report.passed, report.failed) == ("vitest", 3, 1)


def test_files_without_tests_are_no_tests() -> None:
    report = read_summary(" Test Files  1 passed (1)\n      Tests  no tests\n")
    assert report is not None
    assert report.executed == 0
