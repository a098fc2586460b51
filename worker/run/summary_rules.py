"""The lines with which test runners sum up, and what each says."""

import re
from collections.abc import Callable
from dataclasses import dataclass

_PASSED = frozenset({"pass", "passed", "passing", "successes", "xpassed"})
_FAILED = frozenset({"fail", "failed", "failing", "failures", "failure", "errors", "error"})
_SKIPPED = frozenset(
    {"skip", "skips", "skipped", "pending", "todo", "ignored", "disabled", "xfailed"}
)
_UNCOUNTED = frozenset({"tests", "deselected"})
_NAMED = re.compile(r"([A-Za-z]{2,12}): {1,9}(\d{1,9})")
_AMOUNT = re.compile(r"(\d{1,9}) ([a-z]{2,12})")


@dataclass(slots=True)
class Counts:
    """The tests of one runner.

    Attributes:
        suites_failed: Files with a failed test, and those that could not be loaded.
        seen: Whether the runner summed up.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    suites_failed: int = 0
    seen: bool = False

    def add(self, word: str, amount: int) -> None:
        """Add an amount of what a word says of a test; of an unknown word, nothing."""
        if word in _PASSED:
            self.passed += amount
        elif word in _FAILED:
            self.failed += amount
        elif word in _SKIPPED:
            self.skipped += amount
        elif word not in _UNCOUNTED:
            return
        self.seen = True

    def add_total(self, total: int, failed: int, skipped: int) -> None:
        """Add tests of which all passed that did not fail and were not skipped."""
        self.failed += failed
        self.skipped += skipped
        self.passed += max(0, total - failed - skipped)
        self.seen = True


Rule = tuple[str, re.Pattern[str], Callable[[Counts, re.Match[str]], None]]
"""A runner, the line that it prints, and what to do with the line."""


def _amounts(counts: Counts, match: re.Match[str]) -> None:
    for amount, word in _AMOUNT.findall(match[1].lower()):
        counts.add(word, int(amount))


def _one(word: str) -> Callable[[Counts, re.Match[str]], None]:
    return lambda counts, match: counts.add(word, int(match[1]))


def _unconfirmed(word: str) -> Callable[[Counts, re.Match[str]], None]:
    """Bun's counts, of which only failures stand without the line that ends its summary."""

    def apply(counts: Counts, match: re.Match[str]) -> None:
        seen = counts.seen
        counts.add(word, int(match[1]))
        counts.seen = seen or counts.failed > 0

    return apply


def _none(counts: Counts, match: re.Match[str]) -> None:
    counts.seen = True


def _suites(counts: Counts, match: re.Match[str]) -> None:
    counts.suites_failed += int(match[1])


def _of_total(counts: Counts, match: re.Match[str]) -> None:
    """``5 examples, 1 failure``: what did not fail and was not skipped passed."""
    others = Counts()
    for amount, word in _AMOUNT.findall(match[2].lower()):
        others.add(word, int(amount))
    counts.add_total(int(match[1]), others.failed, others.skipped)


def _named(counts: Counts, match: re.Match[str]) -> None:
    """``Tests run: 5, Failures: 1, Errors: 0, Skipped: 0`` and its like."""
    words = {name.lower(): int(number) for name, number in _NAMED.findall(match[0])}
    failed = words.get("failures", 0) + words.get("errors", 0) + words.get("failed", 0)
    skipped = words.get("skipped", 0) + words.get("incomplete", 0)
    total = words.get("run") or words.get("tests") or words.get("total") or 0
    counts.add_total(total, failed, skipped)


def _uvu_total(counts: Counts, match: re.Match[str]) -> None:
    counts.failed += int(match[1])
    counts.seen = True


def _uvu_passed(counts: Counts, match: re.Match[str]) -> None:
    counts.failed = max(0, counts.failed - int(match[1]))
    counts.passed += int(match[1])


def _karma(counts: Counts, match: re.Match[str]) -> None:
    """``Executed 3 of 5 (1 FAILED) (skipped 2)``; each line replaces the one before."""
    failed, skipped = int(match[2] or 0), int(match[3] or 0)
    counts.passed = counts.failed = counts.skipped = 0
    counts.add_total(int(match[1]) + skipped, failed, skipped)


def _tap_comment(counts: Counts, match: re.Match[str]) -> None:
    """``# { total: 3, pass: 1, fail: 1, skip: 1 }``, by tap 18."""
    counts.seen = True
    for word, number in _NAMED.findall(match[1]):
        counts.add(word, int(number))


TAP = "tap"
NODE_TAP = "node:test as TAP"
NOTHING = "none"
"""In place of a runner, where what runs the scripts of packages found none to run."""
_LIST = r"((?:\d{1,9} (?:subtests )?[a-z]{2,12}(?:, | \| |; )?){1,8})"
RULES: tuple[Rule, ...] = (
    ("vitest", re.compile(rf" {{2,12}}Tests {{1,4}}{_LIST} ?\(\d{{1,9}}\)\Z"), _amounts),
    ("vitest", re.compile(r" {2,12}Tests {1,4}no tests"), _none),
    ("vitest", re.compile(r"No test files found"), _none),
    ("vitest", re.compile(r" {1,12}Test Files {1,4}(\d{1,9}) failed"), _suites),
    ("jest", re.compile(rf"Tests: {{1,12}}{_LIST}\d{{0,9}} ?(?:total)?\Z"), _amounts),
    ("jest", re.compile(r"Tests: {1,12}0 total\Z"), _none),
    ("jest", re.compile(r"Test Suites: {1,4}(\d{1,9}) failed"), _suites),
    ("jest", re.compile(r"No tests found[ ,]"), _none),
    ("bun:test", re.compile(r" ?(\d{1,9}) pass\Z"), _unconfirmed("pass")),
    ("bun:test", re.compile(r" ?(\d{1,9}) fail\Z"), _unconfirmed("fail")),
    ("bun:test", re.compile(r" ?(\d{1,9}) (?:skip|todo)\Z"), _unconfirmed("skip")),
    ("bun:test", re.compile(r"Ran \d{1,9} tests? across \d"), _none),
    ("bun:test", re.compile(r"No tests found!"), _none),
    ("bun:test", re.compile(r"error: regex .{1,300} matched 0 tests"), _none),
    ("node:test", re.compile(r"\u2139 tests {1,2}(\d{1,9})\Z"), _one("tests")),
    ("node:test", re.compile(r"\u2139 pass {1,2}(\d{1,9})\Z"), _one("pass")),
    ("node:test", re.compile(r"\u2139 (?:fail|cancelled) {1,2}(\d{1,9})\Z"), _one("fail")),
    ("node:test", re.compile(r"\u2139 (?:skipped|todo) {1,2}(\d{1,9})\Z"), _one("skip")),
    (TAP, re.compile(r"# tests {1,2}(\d{1,9})\Z"), _one("tests")),
    (TAP, re.compile(r"# pass {1,2}(\d{1,9})\Z"), _one("pass")),
    (TAP, re.compile(r"# (?:fail|cancelled) {1,2}(\d{1,9})\Z"), _one("fail")),
    (TAP, re.compile(r"# (?:skip|skipped|todo) {1,2}(\d{1,9})\Z"), _one("skip")),
    (NODE_TAP, re.compile(r"# cancelled \d"), _none),
    (
        TAP,
        re.compile(r"# \{ total: \d{1,9}((?:, [a-z]{2,8}: \d{1,9}){0,6}) \}\Z"),
        _tap_comment,
    ),
    (TAP, re.compile(r" {2}passing: {1,6}(\d{1,9})\Z"), _one("pass")),
    (TAP, re.compile(r" {2}failing: {1,6}(\d{1,9})\Z"), _one("fail")),
    ("uvu", re.compile(r" {2}Total: {5}(\d{1,9})\Z"), _uvu_total),
    ("uvu", re.compile(r" {2}Passed: {4}(\d{1,9})\Z"), _uvu_passed),
    ("uvu", re.compile(r" {2}Skipped: {3}(\d{1,9})\Z"), _one("skip")),
    (
        "karma",
        re.compile(
            r"(?:.{1,80}?: )?Executed (\d{1,9}) of \d{1,9}"
            r"(?: \((\d{1,9}) FAILED\))?(?: \(skipped (\d{1,9})\))?"
        ),
        _karma,
    ),
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
    ("pytest", re.compile(r"=* ?(?:no|\d{1,9}(?:/\d{1,9})?) tests? collected"), _none),
    (
        "deno",
        re.compile(
            r"(?:ok|FAILED) \| ((?:\d{1,9} [a-z]{2,12}(?: \(\d{1,9} steps?\))?(?: \| )?){1,6})"
        ),
        _amounts,
    ),
    ("go test", re.compile(rf"go: {_LIST}\Z"), _amounts),
    ("gradle", re.compile(rf"gradle: {_LIST}\Z"), _amounts),
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
    (
        NOTHING,
        re.compile(
            r"No tasks were executed as part of this run|(?: NX|>  NX) {1,4}No tasks were run"
            r"|lerna info No packages remain after filtering|No projects matched the filters"
            r"|None of the selected packages has a"
        ),
        _none,
    ),
)
