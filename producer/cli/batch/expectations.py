"""Prints single tests, and the comparison of a batch with the verdicts that a file expects."""

from rich.console import Console
from rich.text import Text

from revalid.producer.report.model import STATES, BatchReport, Expectations
from revalid.producer.sanitize import one_line

_TESTS = 10
_NAMES = 3
_WRONG = 50


def print_tests(out: Console, report: BatchReport) -> None:
    """Print the tests that failed in more than one project, and those that flaked."""
    shared = [test for test in report.tests if test.number > 1]
    for test in shared[:_TESTS]:
        names = ", ".join(test.projects[:_NAMES]) + (" …" if test.number > _NAMES else "")
        out.print(Text.assemble((f"  {test.number:>5}  ", "red"), f"test {one_line(test.title)}"))
        out.print(Text(f"{' ' * 9}{test.runner or 'test'}: {one_line(names)}", "dim"))
    for test in [test for test in report.tests if test.flaky][:_TESTS]:
        names = ", ".join(test.flaky[:_NAMES]) + (" …" if len(test.flaky) > _NAMES else "")
        title = one_line(test.title)
        out.print(Text.assemble(("  flaky    ", "yellow"), title, (f"  {one_line(names)}", "dim")))


def print_expectations(out: Console, expectations: Expectations) -> None:
    """Print a table of expected verdicts and states, then each row that is not as expected."""
    seen = {state for counts in expectations.table.values() for state in counts}
    states = [state for state in STATES if state in seen]
    titles = [state.replace("_", " ") for state in states]
    first = max(map(len, ("expected", *expectations.table)), default=0)
    out.print(Text("  ".join([f"  {'expected':<{first}}", *titles]), "dim"))
    for words, counts in expectations.table.items():
        cells = (
            f"{counts.get(state) or '':>{len(title)}}"
            for state, title in zip(states, titles, strict=True)
        )
        out.print("  ".join([f"  {words:<{first}}", *cells]))
    for judged in expectations.wrong[:_WRONG]:
        state = judged.state.replace("_", " ")
        out.print(
            Text.assemble(
                (f"  {judged.kind.replace('_', ' '):<11}  ", "red"),
                one_line(judged.project),
                (f"  expected {judged.expected}, is {state}: {one_line(judged.reason)}", "dim"),
            )
        )
    if (more := len(expectations.wrong) - _WRONG) > 0:
        out.print(Text(f"  {more} more are in the JSON report", "dim"))
    totals = (f"{kind.replace('_', ' ')} {n}" for kind, n in expectations.counts.items())
    out.print(Text("  ".join(totals), "red" if expectations.wrong else "green"))
