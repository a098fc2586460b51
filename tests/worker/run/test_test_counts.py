"""Report and summary of one command: the verdict is never better than either."""

import pytest

from revalid.jobs.result import StepResult
from revalid.worker.run.test_counts import count_tests
from revalid.worker.sandboxes.protocol import OWN_REPORT, WrittenReport
from revalid.worker.secrets import Scrubber

Counts = tuple[int, int]


def suite(passed: int, failed: int) -> bytes:
    cases = '<testcase name="a"/>' * passed
    cases += '<testcase name="b"><failure/></testcase>' * failed
    return f"<testsuite>{cases}</testsuite>".encode()


def summary(passed: int, failed: int) -> str:
    return f" {passed} pass\n {failed} fail\nRan {passed + failed} tests across 1 file.\n"


def counted(path: str, report: Counts, printed: str) -> tuple[int, int, str, str | None]:
    result = StepResult(name="test", exit_code=0, stdout=printed)
    wrote = [WrittenReport(path, suite(*report))]
    tests, note = count_tests(result, wrote, "bun:test", Scrubber(()))
    assert tests is not None
    return tests.passed, tests.failed, tests.source, note


@pytest.mark.parametrize(
    ("report", "printed", "counts", "noted"),
    [
        ((2, 0), (2, 0), (2, 0), False),
        ((2, 0), (5, 0), (2, 0), False),  # another program of the run printed one
        ((2, 0), (2, 1), (2, 1), True),
        ((2, 1), (2, 0), (2, 1), True),
        ((2, 0), (0, 0), (0, 0), True),
        ((0, 0), (2, 0), (0, 0), True),
        ((0, 1), (2, 0), (0, 1), True),
    ],
)
def test_the_worse_of_report_and_summary_counts(
    report: Counts, printed: Counts, counts: Counts, noted: bool
) -> None:
    passed, failed, source, note = counted(f"{OWN_REPORT}.xml", report, summary(*printed))
    assert (passed, failed, source) == (*counts, "report")
    assert (note is not None) == noted


@pytest.mark.parametrize(
    ("files", "printed", "counts", "source"),
    [
        ((2, 0), (2, 0), (2, 0), "files"),
        ((2, 0), (5, 0), (5, 0), "summary"),
        ((0, 0), (5, 0), (5, 0), "summary"),
        ((2, 1), (5, 0), (5, 1), "summary"),
        ((9, 0), (5, 1), (5, 1), "summary"),
    ],
)
def test_files_of_a_part_of_the_run_only_add_failures(
    files: Counts, printed: Counts, counts: Counts, source: str
) -> None:
    found = counted("out/junit.xml", files, summary(*printed))
    assert found[:3] == (*counts, source)


def test_files_alone_count() -> None:
    assert counted("out/junit.xml", (2, 1), "done\n") == (2, 1, "files", None)


def test_failed_tests_of_a_summary_are_named() -> None:
    result = StepResult(name="test", exit_code=1, stdout=f"(fail) a > b [1ms]\n{summary(1, 1)}")
    tests, _ = count_tests(result, [], "bun:test", Scrubber(()))
    assert tests is not None
    assert [(case.name, case.status) for case in tests.cases] == [("a > b", "failed")]
    assert tests.cases_omitted == 1


def test_names_beyond_the_count_are_not_believed() -> None:
    printed = f"(fail) a\n(fail) b\n{summary(1, 1)}"
    result = StepResult(name="test", exit_code=1, stdout=printed)
    tests, _ = count_tests(result, [], "bun:test", Scrubber(()))
    assert tests is not None
    assert tests.cases == ()
