"""Counts tests by the summary that a test runner prints, whatever script wraps it.

Of a long output only head and tail are kept; a summary stands at the end. A run may print several
summaries, such as one for each workspace: they are added up. Every pattern is matched against one
line, which is cut to ``_LINE``, so that hostile output costs linear time.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from revalid.jobs.result import TestReport
from revalid.worker.run.summary_rules import NODE_TAP, NOTHING, RULES, TAP, Counts

_LINE = 400
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]{0,20}[A-Za-z]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\))")
_PREFIX = re.compile(
    r"[\w@./-]{1,80}(?:#|:| )(?:test|unit|e2e|integration|spec)(?:[:\w-]{0,40}): ?"
    r"|\[[\w@./:# -]{1,60}\]:? |@?[a-z0-9][a-z0-9./_-]{0,80}: "
)
"""What pnpm, turbo, concurrently, npm-run-all, yarn, bun and lerna put before each line."""
_MOST_PREFIXES = 2
_OF_ANY = re.compile("|".join(f"(?:{pattern.pattern})" for _, pattern, _ in RULES))
"""Tells the few lines that a rule takes from the many others at the price of one match."""


_Match = tuple[str, Callable[[Counts, re.Match[str]], None], re.Match[str]]

_UNITTEST = re.compile(r"Ran (\d{1,9}) tests? in \d")
_UNITTEST_END = re.compile(r"(?:OK|FAILED|NO TESTS RAN)(?: \((.{1,120})\))?\Z")
_EQUALS = re.compile(r"([a-z ]{4,24})=(\d{1,9})")
_TAP = re.compile(r"(not )?ok \d{1,9}(.{0,300})")
_TAP_PLAN = re.compile(r"1\.\.\d{1,9}\Z")


def plain_lines(text: str) -> list[tuple[str, ...]]:
    """Return an output's lines, cut and without colours.

    Each is a tuple: the line, then the line without what task runners put before it.
    """
    known: dict[str, tuple[str, ...]] = {}
    lines = []
    for line in filter(None, text.splitlines()):
        if (readings := known.get(line)) is None:
            readings = known[line] = tuple(_readings(line))
        lines.append(readings)
    return lines


def _readings(line: str) -> Iterator[str]:
    line = line[:_LINE]
    if "\x1b" in line:
        line = _ESCAPE.sub("", line)
    line = line.rstrip()
    yield line
    for _ in range(_MOST_PREFIXES):
        prefix = _PREFIX.match(line)
        if prefix is None:
            return
        line = line[prefix.end() :]
        yield line


def read_summary(text: str, only: str | None = None) -> TestReport | None:
    """Return what an output says of its tests; None where no known runner's summary is in it.

    Args:
        text: Standard output and standard error, or their ends.
        only: The one runner that the command calls. What looks like a summary of another one was
            printed by a test.
    """
    totals: defaultdict[str, Counts] = defaultdict(Counts)
    lines = plain_lines(text)
    known: dict[tuple[str, ...], list[_Match]] = {}
    for readings in lines:
        if (matches := known.get(readings)) is None:
            matches = known[readings] = _matches(readings)
        for runner, apply, match in matches:
            apply(totals[runner], match)
    _read_unittest(lines, totals)
    found = {runner: counts for runner, counts in totals.items() if counts.seen}
    _settle_look_alikes(found)
    if only is not None:
        found = {runner: counts for runner, counts in found.items() if runner in (only, TAP)}
        if only in found:
            found = {only: found[only]}
    points = None if found.keys() & {TAP, "node:test"} else read_tap(lines)
    if points is not None and (points.failed or not found) and only not in found:
        found[TAP] = points
    if not found:
        return None
    return TestReport(
        runner=", ".join(found),
        source="summary",
        passed=sum(counts.passed for counts in found.values()),
        failed=sum(counts.failed or counts.suites_failed for counts in found.values()),
        skipped=sum(counts.skipped for counts in found.values()),
    )


def _matches(readings: tuple[str, ...]) -> list[_Match]:
    """Return the rules that take a line, in the first reading that one takes."""
    line = next((each for each in readings if _OF_ANY.match(each)), None)
    if line is None:
        return []
    found = ((runner, apply, pattern.match(line)) for runner, pattern, apply in RULES)
    return [(runner, apply, match) for runner, apply, match in found if match is not None]


def _settle_look_alikes(found: dict[str, Counts]) -> None:
    """Drop a runner whose lines another one prints too."""
    if "pest" in found:
        found.pop("jest", None)
    if "playwright" in found and not found["playwright"].passed and "mocha" in found:
        found.pop("playwright")
    if "node:test" in found and TAP in found and not found[TAP].failed:
        found.pop(TAP)
    if found.pop(NODE_TAP, None) is not None and TAP in found and "node:test" not in found:
        found["node:test"] = found.pop(TAP)
    if len(found) > 1:
        found.pop(NOTHING, None)


def _read_unittest(lines: Iterable[tuple[str, ...]], totals: defaultdict[str, Counts]) -> None:
    """``Ran 5 tests in 0.1s``, then ``FAILED (failures=1, skipped=1)``: unittest and Django."""
    ran: int | None = None
    for readings in lines:
        line = readings[-1]
        if (match := _UNITTEST.match(line)) is not None:
            ran = int(match[1])
        elif ran is not None and (end := _UNITTEST_END.match(line)) is not None:
            counts = totals["unittest"]
            words = {name.strip(): int(n) for name, n in _EQUALS.findall(end[1] or "")}
            failed = words.get("failures", 0) + words.get("errors", 0)
            failed += words.get("unexpected successes", 0)
            skipped = words.get("skipped", 0) + words.get("expected failures", 0)
            counts.add_total(ran, failed, skipped)
            ran = None


def read_tap(lines: Iterable[tuple[str, ...]]) -> Counts | None:
    """Top-level points of a TAP stream, which has a plan."""
    counts, planned = Counts(), False
    for readings in lines:
        if _TAP_PLAN.match(readings[-1]):
            planned = True
        elif (match := _TAP.match(readings[-1])) is not None:
            directive = match[2].lower()
            if "# skip" in directive or "# todo" in directive:
                counts.skipped += 1
            elif match[1]:
                counts.failed += 1
            else:
                counts.passed += 1
    return counts if planned else None
