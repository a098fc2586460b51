"""Finds the single tests that failed or flaked in a batch, across its projects."""

from collections import Counter
from dataclasses import dataclass, field

from revalid.jobs.result import TestCase, TestReport
from revalid.producer.report.model import BrokenTest, Row

_KEPT = 1_000
"""Most tests that a report lists."""
_TRACKED = 100_000
"""Most tests that are told apart; a batch that has more of them lists the first ones."""
_PROJECTS = 1_000
"""Most project names that are kept for a test; all projects are counted."""
_MESSAGE = 400

_Key = tuple[str, str, str]


@dataclass
class _Test:
    message: str
    failed: Counter[str] = field(default_factory=Counter)
    flaky: dict[str, None] = field(default_factory=dict)


class SingleTests:
    """The failed and flaky tests of the rows that were added."""

    def __init__(self) -> None:
        self._tests: dict[_Key, _Test] = {}
        self._left_out = 0
        self._runs: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Add a row with its steps."""
        reports = [step.tests for step in row.steps if step.tests is not None]
        if not all(report.cases for report in reports if report.failed):
            return  # which tests failed is not known
        self._runs[row.project] += any(report.executed for report in reports)
        failed: dict[_Key, None] = {}
        for report in reports:
            for case in report.cases:
                if case.status != "failed" and not case.flaky:
                    continue
                key = _key(report, case)
                if (test := self._tests.get(key)) is None:
                    if len(self._tests) >= _TRACKED:
                        self._left_out += 1
                        continue
                    test = self._tests[key] = _Test((case.message or "")[:_MESSAGE])
                if case.flaky:
                    test.flaky[row.project] = None
                else:
                    failed[key] = None
        for key in failed:
            self._tests[key].failed[row.project] += 1

    def result(self) -> tuple[tuple[BrokenTest, ...], int]:
        """Return the tests that broke in most projects first, and the number left out."""
        tests = [self._broken(key, test) for key, test in self._tests.items()]
        tests.sort(key=lambda test: (-test.number, -len(test.flaky)))
        return tuple(tests[:_KEPT]), max(0, len(tests) - _KEPT) + self._left_out

    def _broken(self, key: _Key, test: _Test) -> BrokenTest:
        """Make the entry of a test; one that failed in some repeats only is flaky."""
        flaky = dict(test.flaky)
        flaky |= {name: None for name, times in test.failed.items() if times < self._runs[name]}
        failed = [name for name in test.failed if name not in flaky]
        runner, file, name = key
        return BrokenTest(
            runner=runner or None,
            file=file or None,
            name=name,
            message=test.message,
            number=len(failed),
            projects=tuple(failed[:_PROJECTS]),
            flaky=tuple(list(flaky)[:_PROJECTS]),
        )


def _key(report: TestReport, case: TestCase) -> _Key:
    return report.runner or "", case.file or "", case.name
