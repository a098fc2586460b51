"""Counts the tests of a command: by the reports that it wrote, and by what its runner printed."""

from collections.abc import Iterable

from revalid.jobs.counted import counted
from revalid.jobs.result import StepResult, TestCase, TestReport
from revalid.worker.run.flaky import failed_tests
from revalid.worker.run.runner_summaries import read_summary
from revalid.worker.run.test_reports import MAX_CASES, read_printed, read_reports
from revalid.worker.sandboxes.protocol import WrittenReport
from revalid.worker.secrets import Scrubber


def count_tests(
    result: StepResult, reports: Iterable[WrittenReport], runner: str | None, scrubber: Scrubber
) -> tuple[TestReport | None, str | None]:
    """Return the tests of a command, and where report and summary disagree, in words.

    Args:
        result: The result of the command, with its output.
        runner: The one runner that the command calls; None if it may call several.
    """
    output = f"{result.stdout}\n{result.stderr}"
    summary = read_summary(output, runner)
    report = read_reports(reports, runner, scrubber)
    if report is None and summary is None:
        report = read_printed(result.stdout, runner, scrubber)
    if report is None:
        return (summary and _with_names(summary, output)), None
    if summary is None:
        return report, None
    counts = _worse(report, summary)
    if _outcome(report) == _outcome(summary) == _outcome(counts):
        return counts, None
    words = f"{_words(report)} by its report, {_words(summary)} by its printed summary"
    return counts, f"{result.name}: {words}; the worse counts"


def _worse(report: TestReport, summary: TestReport) -> TestReport:
    """Return counts that lead to no better verdict than either.

    Files that some part of a run wrote may tell of that part alone: they can only add failures.
    """
    failed = max(report.failed, summary.failed)
    if report.source == "files" and not _agree(report, summary):
        kept = tuple(case for case in report.cases if case.status == "failed")
        counts = {"failed": failed, "cases": kept if report.failed else ()}
        worse = summary.model_copy(update=counts)
    else:
        passed = report.passed if report.executed and summary.executed else 0
        worse = report.model_copy(update={"passed": passed, "failed": failed})
    total = worse.executed + worse.skipped
    return worse.model_copy(update={"cases_omitted": max(0, total - len(worse.cases))})


def _outcome(tests: TestReport) -> tuple[bool, bool]:
    """Return whether tests failed, and whether any ran."""
    return bool(tests.failed), bool(tests.executed)


def _agree(report: TestReport, summary: TestReport) -> bool:
    return (report.passed, report.failed) == (summary.passed, summary.failed)


def _words(report: TestReport) -> str:
    return f"{counted(report.executed, 'test')} with {counted(report.failed, 'failure')}"


def _with_names(summary: TestReport, output: str) -> TestReport:
    """Return a summary with a case for each failed test whose name was printed."""
    names = failed_tests(summary.runner or "", output)[:MAX_CASES]
    if not names or len(names) > summary.failed:
        return summary
    cases = tuple(TestCase(name=name, status="failed") for name in names)
    omitted = summary.executed + summary.skipped - len(cases)
    return summary.model_copy(update={"cases": cases, "cases_omitted": omitted})
