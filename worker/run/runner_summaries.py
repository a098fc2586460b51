"""Counts tests by the summary that a test runner prints, whatever script wraps it.

Of a long output only head and tail are kept; a summary stands at the end. A run may print several
summaries, such as one for each workspace: they are added up. Every pattern is matched against one
line, which is cut to ``_LINE``, so that hostile output costs linear time.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from revalid.jobs.result import TestReport

_LINE = 400
_ESCAPE = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
_PREFIX = re.compile(r"[\w@./-]{1,80}(?:#|:| )test(?:[:\w-]{0,40}): ?|\[[\w@./-]{1,40}\] ")
"""What pnpm, turbo and concurrently put before each line."""
_NAMED = re.compile(r"([A-Za-z]{2,12}): {1,9}(\d{1,9})")
_AMOUNT = re.compile(r"(\d{1,9}) ([a-z]{2,12})")

_PASSED = frozenset({"pass", "passed", "passing", "successes"})
_FAILED = frozenset({"fail", "failed", "failing", "failures", "failure", "errors", "error"})
_SKIPPED = frozenset({"skip", "skips", "skipped", "pending", "todo", "ignored", "disabled"})


@dataclass(slots=True)
class _Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seen: bool = False

    def add(self, word: str, amount: int) -> None:
        if word in _PASSED:
            self.passed += amount
        elif word in _FAILED:
            self.failed += amount
        elif word in _SKIPPED:
            self.skipped += amount
        else:
            return
        self.seen = True

    def add_total(self, total: int, failed: int, skipped: int) -> None:
        """Add tests of which all passed that did not fail and were not skipped."""
        self.failed += failed
        self.skipped += skipped
        self.passed += max(0, total - failed - skipped)
        self.seen = True


@dataclass(slots=True)
class _Totals:
    """Counts of each runner, in the order in which they were first seen."""

    of: dict[str, _Counts] = field(default_factory=dict)

    def __getitem__(self, runner: str) -> _Counts:
        return self.of.setdefault(runner, _Counts())


_Rule = tuple[str, re.Pattern[str], Callable[[_Counts, re.Match[str]], None]]


def _amounts(counts: _Counts, match: re.Match[str]) -> None:
    for amount, word in _AMOUNT.findall(match[1].lower()):
        counts.add(word, int(amount))


def _one(word: str) -> Callable[[_Counts, re.Match[str]], None]:
    return lambda counts, match: counts.add(word, int(match[1]))


def _none(counts: _Counts, match: re.Match[str]) -> None:
    counts.seen = True


def _of_total(counts: _Counts, match: re.Match[str]) -> None:
    """``5 examples, 1 failure``: what did not fail and was not skipped passed."""
    others = _Counts()
    for amount, word in _AMOUNT.findall(match[2].lower()):
        others.add(word, int(amount))
    counts.add_total(int(match[1]), others.failed, others.skipped)


def _named(counts: _Counts, match: re.Match[str]) -> None:
    """``Tests run: 5, Failures: 1, Errors: 0, Skipped: 0`` and its like."""
    words = {name.lower(): int(number) for name, number in _NAMED.findall(match[0])}
    failed = words.get("failures", 0) + words.get("errors", 0) + words.get("failed", 0)
    skipped = words.get("skipped", 0) + words.get("incomplete", 0)
    total = words.get("run") or words.get("tests") or words.get("total") or 0
    counts.add_total(total, failed, skipped)


_LIST = r"((?:\d{1,9} [a-z]{2,12}(?:, | \| |; )?){1,8})"
_RULES: tuple[_Rule, ...] = (
    ("vitest", re.compile(rf" {{2,12}}Tests {{1,4}}{_LIST} ?\(\d{{1,9}}\)\Z"), _amounts),
    ("vitest", re.compile(r" {2,12}Tests {1,4}no tests"), _none),
    ("vitest", re.compile(r"No test files found"), _none),
    ("jest", re.compile(rf"Tests: {{1,12}}{_LIST}\d{{0,9}} ?(?:total)?\Z"), _amounts),
    ("jest", re.compile(r"No tests found"), _none),
    ("bun:test", re.compile(r" (\d{1,9}) pass\Z"), _one("pass")),
    ("bun:test", re.compile(r" (\d{1,9}) fail\Z"), _one("fail")),
    ("bun:test", re.compile(r" (\d{1,9}) (?:skip|todo)\Z"), _one("skip")),
    ("node:test", re.compile(r"[#\u2139] tests {1,2}(0)\Z"), _none),
    ("node:test", re.compile(r"[#\u2139] pass {1,2}(\d{1,9})\Z"), _one("pass")),
    ("node:test", re.compile(r"[#\u2139] (?:fail|cancelled) {1,2}(\d{1,9})\Z"), _one("fail")),
    ("node:test", re.compile(r"[#\u2139] (?:skipped|todo) {1,2}(\d{1,9})\Z"), _one("skip")),
    ("mocha", re.compile(r" {2}(\d{1,9}) passing \(.{1,12}\)\Z"), _one("pass")),
    ("mocha", re.compile(r" {2}(\d{1,9}) failing\Z"), _one("fail")),
    ("mocha", re.compile(r" {2}(\d{1,9}) pending\Z"), _one("skip")),
    ("ava", re.compile(r" {2}(\d{1,9}) tests? passed\Z"), _one("pass")),
    (
        "ava",
        re.compile(r" {2}(\d{1,9}) (?:known failures?|tests? skipped|tests? todo)\Z"),
        _one("skip"),
    ),
    ("ava", re.compile(r" {2}(\d{1,9}) (?:tests? failed|uncaught exceptions?)\Z"), _one("fail")),
    (
        "jasmine",
        re.compile(r"(\d{1,9}) specs?, ((?:\d{1,9} [a-z ]{2,20}(?:, )?){1,4})\Z"),
        _of_total,
    ),
    ("playwright", re.compile(r" {2}(\d{1,9}) passed \(.{1,12}\)\Z"), _one("pass")),
    ("playwright", re.compile(r" {2}(\d{1,9}) flaky\Z"), _one("pass")),
    ("playwright", re.compile(r" {2}(\d{1,9}) failed\Z"), _one("fail")),
    ("playwright", re.compile(r" {2}(\d{1,9}) (?:skipped|did not run)\Z"), _one("skip")),
    (
        "pytest",
        re.compile(rf"=* ?{_LIST}? ?in \d{{1,6}}\.\d{{2}}s(?: \(.{{1,20}}\))? ?=*\Z"),
        _amounts,
    ),
    ("pytest", re.compile(r"=* ?no tests ran in \d"), _none),
    ("pytest", re.compile(r"=* ?no tests collected"), _none),
    ("deno", re.compile(rf"(?:ok|FAILED) \| {_LIST}"), _amounts),
    ("cargo", re.compile(rf"test result: [A-Za-z]{{2,6}}\. {_LIST}"), _amounts),
    ("rspec", re.compile(r"(\d{1,9}) examples?, ((?:\d{1,9} [a-z]{2,12}(?:, )?){1,4})"), _of_total),
    ("minitest", re.compile(r"(\d{1,9}) (?:runs|tests), \d{1,9} assertions, (.{1,80})"), _of_total),
    ("phpunit", re.compile(r"OK \((\d{1,9}) tests?, \d{1,9} assertions?\)"), _one("pass")),
    ("phpunit", re.compile(r"Tests: \d{1,9}, Assertions: \d{1,9}.{0,200}"), _named),
    ("phpunit", re.compile(r"No tests executed!"), _none),
    ("pest", re.compile(rf" {{2}}Tests: {{1,8}}{_LIST} ?\(\d{{1,9}} assertions?\)"), _amounts),
    (
        "maven",
        re.compile(r"(?:\[[A-Z]{4,8}\] )?Tests run: \d{1,9}, Failures: .{1,100}\d\Z"),
        _named,
    ),
    (
        "dotnet",
        re.compile(r"(?:Passed|Failed)! {1,4}- Failed: .{1,120}Total: {1,9}\d{1,9}"),
        _named,
    ),
)
_UNITTEST = re.compile(r"Ran (\d{1,9}) tests? in \d")
_UNITTEST_END = re.compile(r"(?:OK|FAILED|NO TESTS RAN)(?: \((.{1,120})\))?\Z")
_EQUALS = re.compile(r"([a-z ]{4,24})=(\d{1,9})")
_TAP = re.compile(r"(not )?ok \d{1,9}(.{0,300})")
_TAP_PLAN = re.compile(r"1\.\.\d{1,9}\Z")


def plain_lines(text: str) -> list[str]:
    """Return an output's lines, cut, without colours and what task runners put before each."""
    lines = (_ESCAPE.sub("", line[:_LINE]) for line in text.splitlines())
    return [_without_prefix(line).rstrip() for line in lines]


def read_summary(text: str) -> TestReport | None:
    """Return what an output says of its tests; None where no known runner's summary is in it.

    Args:
        text: Standard output and standard error, or their ends.
    """
    totals = _Totals()
    lines = plain_lines(text)
    for line in lines:
        for runner, pattern, apply in _RULES:
            if (match := pattern.match(line)) is not None:
                apply(totals[runner], match)
    _read_unittest(lines, totals)
    found = {runner: counts for runner, counts in totals.of.items() if counts.seen}
    _settle_look_alikes(found)
    if not found and (counts := _read_tap(lines)) is not None:
        found["tap"] = counts
    if not found:
        return None
    return TestReport(
        runner=", ".join(found),
        source="summary",
        passed=sum(counts.passed for counts in found.values()),
        failed=sum(counts.failed for counts in found.values()),
        skipped=sum(counts.skipped for counts in found.values()),
    )


def _without_prefix(line: str) -> str:
    prefix = _PREFIX.match(line)
    return line[prefix.end() :] if prefix else line


def _settle_look_alikes(found: dict[str, _Counts]) -> None:
    """Drop a runner whose lines another one prints too."""
    if "pest" in found:
        found.pop("jest", None)
    if "playwright" in found and not found["playwright"].passed and "mocha" in found:
        found.pop("playwright")


def _read_unittest(lines: Iterable[str], totals: _Totals) -> None:
    """``Ran 5 tests in 0.1s``, then ``FAILED (failures=1, skipped=1)``: unittest and Django."""
    ran: int | None = None
    for line in lines:
        if (match := _UNITTEST.match(line)) is not None:
            ran = int(match[1])
        elif ran is not None and (end := _UNITTEST_END.match(line)) is not None:
            counts = totals["unittest"]
            words = {name.strip(): int(n) for name, n in _EQUALS.findall(end[1] or "")}
            failed = words.get("failures", 0) + words.get("errors", 0)
            failed += words.get("unexpected successes", 0)
            skipped = words.get("skipped", 0)
            counts.add_total(ran, failed, skipped)
            ran = None


def _read_tap(lines: Iterable[str]) -> _Counts | None:
    """Top-level points of a TAP stream, which has a plan."""
    counts, planned = _Counts(), False
    for kind, directive in _tap_points(lines):
        if kind == "plan":
            planned = True
        elif "# skip" in directive or "# todo" in directive:
            counts.skipped += 1
        elif kind == "ok":
            counts.passed += 1
        else:
            counts.failed += 1
    return counts if planned else None


def _tap_points(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if _TAP_PLAN.match(line):
            yield "plan", ""
        elif (match := _TAP.match(line)) is not None:
            yield "not ok" if match[1] else "ok", match[2].lower()
