"""Runs failed tests again by themselves, to tell flaky tests from broken ones."""

import re
import shlex

from revalid.jobs.result import StepResult, TestCase, TestReport
from revalid.worker.run.runner_summaries import plain_lines

MAX_AGAIN = 10
"""Failed tests that run again; of more, none does."""
_NAME = 200
_FAILED = {
    "bun:test": re.compile(r"\(fail\) (.{1,300}?)(?: \[\d[\d.]{0,12}m?s\])?\Z"),
    "vitest": re.compile(r" {0,4}FAIL {1,4}(.{1,300} > .{1,300})\Z"),
    "jest": re.compile(r" {2}\u25cf (?!Console\Z|Test suite failed to run)(.{1,300})\Z"),
    "node:test": re.compile(
        r" {0,12}(?:\u2716|not ok \d{1,6} -) (.{1,300}?)(?: \(\d[\d.]{0,12}ms\))?\Z"
    ),
    "unittest": re.compile(r"(?:FAIL|ERROR): (\w{1,200} \([\w.]{1,300}\))"),
    "pytest": re.compile(r"FAILED (\S{1,300}(?:\[.{1,80}\])?)(?: - .{0,300})?\Z"),
}
_SCRIPT = re.compile(r"(?:npm|pnpm|yarn|bun) run [\w:-]{1,60}\Z")


def failed_tests(runner: str, output: str) -> list[str]:
    """Return the names of the tests that failed, as the runner prints them, each once."""
    pattern = _FAILED.get(runner)
    if pattern is None:
        return []
    matches = (pattern.match(line) for lines in plain_lines(output) for line in lines)
    return list(dict.fromkeys(match[1][:_NAME] for match in matches if match))


def again_command(command: str, runner: str, names: list[str]) -> str | None:
    """Return the command that runs some tests of a command again; None where it cannot be told.

    Args:
        names: What :func:`failed_tests` returns.
    """
    place, joined, own = command.rpartition(" && ")
    own = own.removeprefix("{ ").removesuffix("; }")
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
        case "unittest" if " manage.py test" in own and not script:
            own = f"{own} {shlex.join(map(_label, names))}"
        case _:
            return None
    return f"{place}{joined}{own}"


def _label(name: str) -> str:
    """Return ``app.tests.Case.test_a`` of ``test_a (app.tests.Case.test_a)``, as Django takes it.

    Before Python 3.11 the test's own name is not in the parentheses.
    """
    short, _, rest = name.partition(" (")
    dotted = rest.removesuffix(")")
    return dotted if dotted.endswith(f".{short}") else f"{dotted}.{short}"


def names_of_failed(tests: TestReport, output: str) -> list[str]:
    """Return the names of the tests that failed: of its report, else as the runner prints them."""
    if tests.source == "summary":
        return failed_tests(tests.runner or "", output)
    return list(dict.fromkeys(case.name for case in tests.cases if case.status == "failed"))


def judged_again(
    first: StepResult, names: list[str], again: TestReport | None, output: str
) -> StepResult:
    """Return a result whose tests that passed at the second try count as flaky.

    Args:
        names: The tests that failed at first.
        again: The tests of the second run.
        output: What the second run printed.
    """
    report = first.tests
    if report is None or again is None or not again.passed:
        return first
    still = set(names_of_failed(again, output))
    if again.source == "summary":
        flaky = [name for name in names if name not in still][: again.passed]
    else:
        passed = {case.name for case in again.cases if case.status == "passed"}
        flaky = [name for name in names if name in passed - still]
    if not flaky:
        return first
    failed = {case.name: case for case in reversed(report.cases) if case.status == "failed"}
    cases = tuple(
        failed.get(name, TestCase(name=name, status="failed")).model_copy(
            update={"status": "passed", "flaky": True} if name in flaky else {}
        )
        for name in names
    )
    cases += tuple(case for case in report.cases if case.status != "failed")
    counts = {"passed": report.passed + len(flaky), "failed": max(0, report.failed - len(flaky))}
    tests = report.model_copy(update={**counts, "flaky": len(flaky), "cases": cases})
    note = f"[revalid: ran {len(names)} failed tests again, {len(flaky)} passed]\n"
    separator = "" if first.stdout.endswith("\n") or not first.stdout else "\n"
    stdout = f"{first.stdout}{separator}{note}"
    return first.model_copy(update={"tests": tests, "stdout": stdout})
