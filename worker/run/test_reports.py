"""Reads machine-readable reports of tests: JUnit's XML, jest's JSON, CTRF and TAP.

A project's code wrote them. Parsing is linear and bounded, and an XML document with a DTD is
refused, so that no entity is ever expanded.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.parsers import expat

from revalid.jobs.encoding import encodable
from revalid.jobs.result import TestCase, TestReport
from revalid.worker.run.runner_summaries import plain_lines, read_tap
from revalid.worker.sandboxes.protocol import OWN_REPORT, WORKDIR, WrittenReport
from revalid.worker.secrets import Scrubber

MAX_CASES = 500
"""Cases of a step that its result keeps: failed ones first."""
_MAX_PASSED = 200
_MAX_READ = 100_000
"""Cases of all reports of a step; a report with more is not read."""
_MAX_DEPTH = 50
_MAX_ELEMENTS = 500_000
_NAME = 300
_MESSAGE = 1_000
_NODE_TOTAL = re.compile(r" (pass|fail|cancelled|skipped|todo) (\d{1,9}) \Z")
_STATUSES: dict[str, Literal["passed", "failed", "skipped"]] = {
    "passed": "passed",
    "failed": "failed",
    "skipped": "skipped",
    "pending": "skipped",
    "todo": "skipped",
    "disabled": "skipped",
    "other": "skipped",
}


class _Unreadable(Exception):
    """It is no report, or it is beyond a bound."""


_ERRORS = (_Unreadable, ValueError, LookupError, RecursionError, expat.ExpatError)
"""What a hostile document raises; an unknown encoding is a ``LookupError``."""


@dataclass(slots=True)
class _Found:
    """What reports say.

    Attributes:
        unlisted: Tests without a case, by their status.
    """

    runner: str | None = None
    cases: list[TestCase] = field(default_factory=list)
    unlisted: Counter[str] = field(default_factory=Counter)

    def append(self, case: TestCase) -> None:
        """Add a case that the report lists."""
        if len(self.cases) >= _MAX_READ:
            raise _Unreadable
        self.cases.append(case)

    def add(self, other: "_Found") -> None:
        """Add what another report says."""
        if len(self.cases) + len(other.cases) > _MAX_READ:
            raise _Unreadable
        self.runner = self.runner or other.runner
        self.cases += other.cases
        self.unlisted += other.unlisted


def read_reports(
    reports: Iterable[WrittenReport], runner: str | None, scrubber: Scrubber
) -> TestReport | None:
    """Return what the reports of one command say; None where it wrote none that can be read.

    The report that the runner wrote for us goes before others.

    Args:
        runner: The runner that wrote the report for us.
    """
    own, files = _Found(), _Found()
    of_own = of_files = 0
    for report in reports:
        is_own = report.path.startswith(OWN_REPORT)
        try:
            (own if is_own else files).add(_read(report))
        except _ERRORS:
            continue
        of_own, of_files = of_own + is_own, of_files + (not is_own)
    if of_own:
        return _report(own, runner, "report", scrubber)
    return _report(files, files.runner, "files", scrubber) if of_files else None


def read_printed(text: str, runner: str | None, scrubber: Scrubber) -> TestReport | None:
    """Return what a report says that a runner printed; None where the text holds none."""
    for start, end, suffix in (("<", ">", ".xml"), ("{", "}", ".json")):
        begin = 0 if text.startswith(start) else text.find(f"\n{start}") + 1
        content = text[begin : text.rfind(end) + 1].encode(errors="replace")
        if report := read_reports([WrittenReport(suffix, content)], runner, scrubber):
            return report.model_copy(update={"source": "report", "runner": runner or report.runner})
    return None


def _report(
    found: _Found, runner: str | None, source: Literal["report", "files"], scrubber: Scrubber
) -> TestReport:
    counts = Counter(case.status for case in found.cases) + found.unlisted
    failed = [case for case in found.cases if case.status == "failed"][:MAX_CASES]
    others = [case for case in found.cases if case.status == "passed"]
    others = [*others, *(case for case in found.cases if case.status == "skipped")][:_MAX_PASSED]
    kept = [*failed, *others][:MAX_CASES]
    return TestReport(
        runner=_clean(runner, scrubber, _NAME) if runner else None,
        source=source,
        passed=counts["passed"],
        failed=counts["failed"],
        skipped=counts["skipped"],
        cases=tuple(_scrubbed(case, scrubber) for case in kept),
        cases_omitted=counts.total() - len(kept),
    )


def _scrubbed(case: TestCase, scrubber: Scrubber) -> TestCase:
    return case.model_copy(
        update={
            "name": _clean(case.name, scrubber, _NAME),
            "file": _clean(case.file, scrubber, _NAME).removeprefix(f"{WORKDIR}/")
            if case.file
            else None,
            "message": _clean(case.message, scrubber, _MESSAGE) if case.message else None,
        }
    )


def _clean(text: str, scrubber: Scrubber, most: int) -> str:
    """Return a text without secrets and control characters, and its start alone."""
    text = encodable(text)
    text = scrubber.text(text) if len(text) <= most else scrubber.before_cut(text[:most])
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def _read(report: WrittenReport) -> _Found:
    if report.path.endswith(".xml"):
        return _JUnit().read(report.content)
    text = report.content.decode(errors="replace")
    if report.path.endswith(".tap"):
        return _tap(text)
    document = json.loads(text)
    if isinstance(document, dict) and isinstance(document.get("stats"), dict):
        return _mocha(document)
    if isinstance(document, dict) and isinstance(document.get("testResults"), list):
        return _jest(document["testResults"])
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, dict) or not isinstance(results.get("tests"), list):
        raise _Unreadable
    return _ctrf(results)


def _tap(text: str) -> _Found:
    points = read_tap(plain_lines(text))
    if points is None:
        raise _Unreadable
    return _Found(
        "tap", unlisted=Counter(passed=points.passed, failed=points.failed, skipped=points.skipped)
    )


def _jest(files: list[Any]) -> _Found:
    """The JSON of jest and vitest: ``testResults[].assertionResults[]``."""
    found = _Found()
    for file in _objects(files):
        name, failed = _text(file.get("name")), 0
        results = file.get("assertionResults")
        for result in _objects(results if isinstance(results, list) else []):
            titles = result.get("ancestorTitles")
            groups = [_text(title) for title in titles] if isinstance(titles, list) else []
            messages = result.get("failureMessages")
            status = _STATUSES.get(_text(result.get("status")), "failed")
            failed += status == "failed"
            found.append(
                TestCase(
                    name=" > ".join([*filter(None, groups), _text(result.get("title"))]),
                    status=status,
                    file=name or None,
                    duration_s=_seconds(result.get("duration"), 1_000),
                    message="\n".join(map(_text, messages)) if isinstance(messages, list) else None,
                )
            )
        if file.get("status") == "failed" and not failed:  # it could not be loaded
            case = TestCase(
                name=name.rpartition("/")[2],
                status="failed",
                file=name or None,
                message=_text(file.get("message")) or None,
            )
            found.append(case)
    return found


def _mocha(document: dict[str, Any]) -> _Found:
    """The JSON of mocha: ``tests``, and ``pending`` with those that were left out."""
    found = _Found("mocha")
    lists = {name: document.get(name) for name in ("tests", "pending")}
    tests, pending = (items if isinstance(items, list) else [] for items in lists.values())
    skipped = {_text(test.get("fullTitle")) for test in _objects(pending)}
    for test in _objects(tests):
        error, name = test.get("err"), _text(test.get("fullTitle"))
        found.append(
            TestCase(
                name=name,
                status="failed" if error else "skipped" if name in skipped else "passed",
                file=_text(test.get("file")) or None,
                duration_s=_seconds(test.get("duration"), 1_000),
                message=_text(error.get("message")) or None if isinstance(error, dict) else None,
            )
        )
    return found


def _ctrf(results: dict[str, Any]) -> _Found:
    tool = results.get("tool")
    found = _Found(_text(tool.get("name")) if isinstance(tool, dict) else None)
    for test in _objects(results["tests"]):
        suite = test.get("suite")
        groups = suite if isinstance(suite, list) else [suite]
        found.append(
            TestCase(
                name=" > ".join(filter(None, [*map(_text, groups), _text(test.get("name"))])),
                status=_STATUSES.get(_text(test.get("status")), "failed"),
                file=_text(test.get("filePath")) or None,
                duration_s=_seconds(test.get("duration"), 1_000),
                message=_text(test.get("message")) or None,
            )
        )
    return found


def _objects(items: list[Any]) -> Iterator[dict[str, Any]]:
    return (item for item in items if isinstance(item, dict))


def _text(value: Any) -> str:
    return value[: 4 * _MESSAGE] if isinstance(value, str) else ""


def _seconds(value: Any, per_second: int) -> float | None:
    try:
        number = float(value) / per_second
    except (TypeError, ValueError, OverflowError):
        return None
    return round(number, 3) if math.isfinite(number) and 0 <= number < 1e9 else None


class _JUnit:
    """Reads one document of JUnit's format."""

    def __init__(self) -> None:
        self._found = _Found()
        self._open: list[str] = []
        self._case: dict[str, str] | None = None
        self._status: Literal["passed", "failed", "skipped"] = "passed"
        self._message = ""
        self._suites: list[str] = []
        self._elements = self._told = 0
        self._totals: Counter[str] = Counter()

    def read(self, content: bytes) -> _Found:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.CommentHandler = self._comment
        parser.Parse(content, True)
        listed: Counter[str] = Counter(case.status for case in self._found.cases)
        told = self._totals | Counter({"failed": self._told})
        self._found.unlisted = told - listed
        return self._found

    def _refuse(self, *_: object) -> None:
        raise _Unreadable

    def _comment(self, text: str) -> None:
        """``<!-- pass 4 -->``, by node:test, which lists no test that has tests of its own."""
        if len(self._open) == 1 and (match := _NODE_TOTAL.match(text[:80])) is not None:
            status = {"pass": "passed", "fail": "failed", "cancelled": "failed"}
            self._totals[status.get(match[1], "skipped")] += int(match[2])

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        self._open.append(name)
        if not self._open[1:] and name not in ("testsuites", "testsuite"):
            raise _Unreadable
        if len(self._open) > _MAX_DEPTH or self._elements > _MAX_ELEMENTS:
            raise _Unreadable
        if name == "testsuite":
            self._suites.append(attributes.get("name", ""))
            if len(self._suites) == 1:
                self._told += sum(_count(attributes.get(word)) for word in ("failures", "errors"))
        elif name == "testcase":
            self._case, self._status, self._message = attributes, "passed", ""
            if attributes.get("status") in ("disabled", "notrun", "skipped"):
                self._status = "skipped"
        elif self._case is not None and self._open[-2] == "testcase":
            if name in ("failure", "error"):
                self._status = "failed"
            elif name == "skipped" and self._status == "passed":
                self._status = "skipped"
            if name in ("failure", "error", "skipped"):
                self._add(attributes.get("message", "") and f"{attributes['message']}\n")

    def _data(self, text: str) -> None:
        inside = self._case is not None and self._open[-1] in ("failure", "error")
        if inside:
            self._add(text)

    def _add(self, text: str) -> None:
        if len(self._message) < 2 * _MESSAGE:  # more than is kept, so that nothing kept is cut here
            self._message += text[: 2 * _MESSAGE]

    def _end(self, name: str) -> None:
        self._open.pop()
        if name == "testsuite":
            self._suites.pop()
        if name != "testcase" or self._case is None:
            return
        case, self._case = self._case, None
        file = case.get("file", "")
        self._found.append(
            TestCase(
                name=_full_name(
                    case.get("name", ""), case.get("classname", ""), file, self._suites
                ),
                status=self._status,
                file=file or None,
                duration_s=_seconds(case.get("time"), 1),
                message=self._message.strip() or None,
            )
        )


def _full_name(name: str, group: str, file: str, suites: list[str]) -> str:
    """Return a test's name with its groups; of pytest, as its command line takes it."""
    if file.endswith(".py"):
        module = file.removesuffix(".py").replace("/", ".")
        classes = group.removeprefix(module).removeprefix(".") if group.startswith(module) else ""
        return "::".join([file, *filter(None, classes.split(".")), name])
    if group == "test":  # of node:test, which names the groups as suites
        return " > ".join([*suites, name])
    return f"{group} > {name}" if group and group != file and not name.startswith(group) else name


def _count(value: str | None) -> int:
    return int(value) if value is not None and value.isdecimal() and len(value) < 8 else 0
