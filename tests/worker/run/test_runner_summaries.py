# ruff: noqa: RUF001
"""Summaries of test runners, as they print them."""

from collections.abc import Iterator

import pytest

from revalid.jobs.result import TestReport
from revalid.worker.run import runner_summaries
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
    "go test": ("ok  \ta\t0.1s\ngo: 4 passed, 1 failed, 2 skipped\n", (4, 1, 2)),
    "go test without tests": ("go: 0 passed, 0 failed, 0 skipped\n", (0, 0, 0)),
    "gradle": ("gradle: 4 passed, 1 failed, 2 skipped\n", (4, 1, 2)),
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
    "vitest, a file that could not be loaded": (
        " Test Files  1 failed | 1 passed (2)\n      Tests  3 passed (3)\n",
        (3, 1, 0),
    ),
    "jest, only a file that could not be loaded": (
        "  \u25cf Test suite failed to run\n\nTest Suites: 1 failed, 1 total\n"
        "Tests:       0 total\n",
        (0, 1, 0),
    ),
    "bun:test with dots": ("1 pass\n0 fail\nRan 1 test across 1 file. [34.00ms]\n", (1, 0, 0)),
    "bun:test, a filter that matches nothing": (
        'error: regex "x" matched 0 tests. Searched 1 file (skipping 1 test) [23.00ms]\n',
        (0, 0, 0),
    ),
    "uvu": ("  Total:     3\n  Passed:    2\n  Skipped:   1\n  Duration:  3.43ms\n", (2, 1, 1)),
    "uvu, all skipped": ("  Total:     0\n  Passed:    0\n  Skipped:   1\n", (0, 0, 1)),
    "tape": ("1..2\n# tests 2\n# pass  1\n# fail  1\n", (1, 1, 0)),
    "tap-spec": ("  total:     2\n  passing:   1\n  failing:   1\n", (1, 1, 0)),
    "tap 18": (
        "TAP version 14\n1..1\nnot ok 1 - a.test.js # time=3ms\n"
        "# { total: 3, pass: 1, fail: 1, skip: 1 }\n",
        (1, 1, 1),
    ),
    "TAP beside lines like those of bun": (
        "TAP version 13\n1..2\nok 1 - a\nnot ok 2 - b\n- Expected\n+ Received\n 3 pass\n 0 fail\n",
        (1, 1, 0),
    ),
    "karma": (
        "Chrome (Linux): Executed 1 of 5 SUCCESS\rChrome (Linux): Executed 5 of 5 (1 FAILED) "
        "(0.1 secs)\r\n",
        (4, 1, 0),
    ),
    "karma, some skipped": ("HeadlessChrome: Executed 3 of 5 (skipped 2) SUCCESS\n", (3, 0, 2)),
    "mocha after control sequences": ("\x1b[?25l\x1b[2K\x1b[?25h  5 passing (20ms)\n", (5, 0, 0)),
    "pytest, all expected to fail": ("==== 2 xfailed in 0.10s ====\n", (0, 0, 2)),
    "pytest, passed unexpectedly": ("==== 1 passed, 1 xpassed in 0.10s ====\n", (2, 0, 0)),
    "pytest, all deselected": ("=== 7 deselected in 0.07s ===\n", (0, 0, 0)),
    "pytest that only collects": ("a.py::test_a\n\n7 tests collected in 0.05s\n", (0, 0, 0)),
    "pytest that collects some": ("== 3/7 tests collected (4 deselected) in 0.05s ==\n", (0, 0, 0)),
    "pytest with subtests": (
        "== 1 failed, 2 passed, 6 subtests passed in 0.05s ==\n",
        (2, 1, 0),
    ),
    "unittest, all expected to fail": (
        "Ran 2 tests in 0.001s\n\nOK (expected failures=2)\n",
        (0, 0, 2),
    ),
    "deno with steps": ("\nFAILED | 5 passed (3 steps) | 1 failed (1 step) (3ms)\n", (5, 1, 0)),
    "turbo without tasks": ("No tasks were executed as part of this run.\n", (0, 0, 0)),
    "nx without tasks": (" NX   No tasks were run\n", (0, 0, 0)),
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
    text = "Tests:       5 passed, 5 total\n 3 pass\n 0 fail\nRan 3 tests across 1 file. [9ms]\n"
    assert read_summary(text) == TestReport(
        runner="jest, bun:test", source="summary", passed=8, failed=0
    )


@pytest.mark.parametrize(
    "prefix",
    [
        *("packages/web test: ", "@app/web:test: ", "@app/web:test:unit: ", "[web] ", "[t:a] "),
        *("@app/web: ", "web unit: ", "[@app/web]: ", "[0] packages/web test: "),
    ],
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


FOREIGN = (
    "\nTests:       7 passed, 7 total\n 9 pass\nRan 9 tests across 1 file.\n"
    "=== 12 passed in 0.12s ===\nRan 5 tests in 0.001s\n\nOK\n1..1\nok 1 - a\n"
)


@pytest.mark.parametrize(
    ("runner", "own", "counts"),
    [
        ("vitest", " Test Files  1 passed (1)\n      Tests  no tests\n", (0, 0)),
        ("vitest", "      Tests  1 failed | 2 passed (3)\n", (2, 1)),
        ("node:test", "# tests 0\n# suites 0\n# pass 0\n# fail 0\n# cancelled 0\n", (0, 0)),
        ("node:test", "\u2139 pass 1\n\u2139 fail 0\n", (1, 0)),
        ("mocha", "  0 passing (1ms)\n", (0, 0)),
    ],
)
def test_what_a_test_prints_is_no_summary_of_the_runner(
    runner: str, own: str, counts: tuple[int, int]
) -> None:
    report = read_summary(FOREIGN + own + FOREIGN, runner)
    assert report is not None
    assert (report.runner, report.passed, report.failed) == (runner, *counts)


def test_the_summary_in_the_message_of_an_error_is_none() -> None:
    text = (
        "AssertionError: Ran 3 tests in 0.1s\n\nOK\n\nRan 1 test in 0.1s\n\nFAILED (failures=1)\n"
    )
    report = read_summary(text)
    assert report is not None
    assert (report.passed, report.failed) == (0, 1)


PIECES = (
    *("\n", "1\n", "pass\n", " 1 pass\n", "\u2139 pass 1\n", "  1 passing (1ms)\n"),
    *("[a] [b] \n", "a: a: a\n", "\x1b[1m\n", "\x1b]8;;", "ok 1\n", "1..1\n", "x" * 399 + "\n"),
)


@pytest.mark.parametrize("piece", PIECES)
def test_the_work_is_linear_and_a_line_that_repeats_is_read_once(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def readings(line: str) -> Iterator[str]:
        read.append(line)
        yield line

    monkeypatch.setattr(runner_summaries, "_readings", readings)
    read_summary(piece * (2**20 // len(piece)))
    assert len(read) <= 2
