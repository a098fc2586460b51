"""Runs failed tests again by themselves, to tell flaky tests from broken ones."""

import re
import shlex

from revalid.jobs.result import StepResult, TestCase
from revalid.worker.run.runner_summaries import plain_lines, read_summary

MAX_AGAIN = 10
"""Failed tests that run again; of more, none does."""
_NAME = 200
_FAILED = {
    "bun:test": re.compile(r"\(fail\) (.{1,300}?)(?: \[\d[\d.]{0,12}m?s\])?\Z"),
    "vitest": re.compile(r" {0,4}FAIL {1,4}(.{1,300} > .{1,300})\Z"),
    "jest": re.compile(r" {2}\u25cf (.{1,300})\Z"),
    "node:test": re.compile(
        r" {0,12}(?:\u2716|not ok \d{1,6} -) (.{1,300}?)(?: \(\d[\d.]{0,12}ms\))?\Z"
    ),
    "pytest": re.compile(r"FAILED (\S{1,300}(?:\[.{1,80}\])?)(?: - .{0,300})?\Z"),
}
_SCRIPT = re.compile(r"(?:npm|pnpm|yarn|bun) run [\w:-]{1,60}\Z")


def failed_tests(runner: str, output: str) -> list[str]:
    """Return the names of the tests that failed, as the runner prints them, each once."""
    pattern = _FAILED.get(runner)
    if pattern is None:
        return []
    matches = (pattern.match(line) for line in plain_lines(output))
    return list(dict.fromkeys(match[1][:_NAME] for match in matches if match))


def again_command(command: str, runner: str, names: list[str]) -> str | None:
    """Return the command that runs some tests of a command again; None where it cannot be told.

    Args:
        names: What :func:`failed_tests` returns.
    """
    place, joined, own = command.rpartition(" && ")
    script = _SCRIPT.search(own) is not None
    pattern = "|".join(re.escape(re.split(" > | \u203a ", name)[-1]) for name in names)
    match runner:
        case "bun:test" | "vitest" | "jest":
            dashes = " --" if script and not own.startswith(("yarn", "bun")) else ""
            own = f"{own}{dashes} -t {shlex.quote(f'({pattern})')}"
        case "node:test" if " --test " in own and not script:
            filtered = f" --test --test-name-pattern={shlex.quote(pattern)} "
            own = own.replace(" --test ", filtered, 1)
        case "pytest" if "pytest" in own and not script:
            own = f"{own} {shlex.join(names)}"
        case _:
            return None
    return f"{place}{joined}{own}"


def judged_again(first: StepResult, names: list[str], output: str) -> StepResult:
    """Return a result whose tests that passed at the second try count as flaky.

    Args:
        names: The tests that failed at first.
        output: What the second run printed.
    """
    report, again = first.tests, read_summary(output)
    if report is None or again is None or not again.passed:
        return first
    still = set(failed_tests(report.runner or "", output))
    flaky = [name for name in names if name not in still][: again.passed]
    if not flaky:
        return first
    cases = tuple(
        TestCase(name=name, status="passed" if name in flaky else "failed", flaky=name in flaky)
        for name in names
    )
    counts = {"passed": report.passed + len(flaky), "failed": max(0, report.failed - len(flaky))}
    tests = report.model_copy(update={**counts, "flaky": len(flaky), "cases": cases})
    note = f"[revalid: ran {len(names)} failed tests again, {len(flaky)} passed]\n"
    separator = "" if first.stdout.endswith("\n") or not first.stdout else "\n"
    stdout = f"{first.stdout}{separator}{note}"
    return first.model_copy(update={"tests": tests, "stdout": stdout})
