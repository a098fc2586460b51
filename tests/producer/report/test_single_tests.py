"""Single tests of a batch: in how many projects each broke, and which one flakes."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from revalid.jobs.checks import CheckName
from revalid.jobs.result import Proven, TestCase, TestReport, Unproven, Verdict
from revalid.producer.report import Row, render
from revalid.producer.report.expected import read_expected
from revalid.producer.report.single_tests import _KEPT
from tests.producer.report.samples import report, row, step


def ran(project: str, *failed: str, flaky: tuple[str, ...] = (), **fields: Any) -> Row:
    """The row of a job whose tests ``adds`` and these ran."""
    cases = [
        TestCase(name=name, file="a.test.ts", status="failed", message="no") for name in failed
    ]
    cases += [TestCase(name=name, file="a.test.ts", status="passed", flaky=True) for name in flaky]
    cases.append(TestCase(name="adds", file="a.test.ts", status="passed"))
    tests = TestReport(
        runner="vitest",
        source="report",
        passed=1 + len(flaky),
        failed=len(failed),
        flaky=len(flaky),
        cases=tuple(cases),
    )
    proven = () if failed else (Proven(check=CheckName.TESTS, step="test", words="passed"),)
    return row(project, step("test", 1 if failed else 0, tests=tests), proven=proven, **fields)


def test_a_test_counts_the_projects_in_which_it_broke() -> None:
    tests = report([ran("a", "logs in"), ran("b", "pays", "logs in"), ran("c")]).tests
    found = [(test.runner, test.file, test.name, test.number, test.projects) for test in tests]
    assert found == [
        ("vitest", "a.test.ts", "logs in", 2, ("a", "b")),
        ("vitest", "a.test.ts", "pays", 1, ("b",)),
    ]


def test_a_test_that_fails_in_some_repeats_is_flaky_and_not_broken() -> None:
    rows = [ran("a", "logs in", "pays"), ran("a", "pays", repeat=2)]
    tests = {test.name: test for test in report(rows).tests}
    assert (tests["logs in"].number, tests["logs in"].flaky) == (0, ("a",))
    assert (tests["pays"].number, tests["pays"].flaky) == (1, ())


def test_a_test_that_passed_at_the_second_try_is_flaky() -> None:
    (test,) = report([ran("a", flaky=("logs in",))]).tests
    assert (test.number, test.flaky) == (0, ("a",))


def test_the_list_is_bounded_and_says_so() -> None:
    found = report([ran("a", *map(str, range(_KEPT + 5)))])
    assert (len(found.tests), found.tests_omitted) == (_KEPT, 5)


def test_a_comparison_names_the_tests_that_broke_and_those_that_were_mended() -> None:
    previous = report([ran("a", "pays"), ran("b", "logs in")])
    comparison = report(
        [ran("a", "logs in"), ran("b", "logs in"), ran("new", "logs in")], previous=previous
    ).comparison
    assert comparison is not None
    assert [(t.name, t.projects) for t in comparison.tests_broken] == [("logs in", ("a",))]
    assert [(t.name, t.projects) for t in comparison.tests_mended] == [("pays", ("a",))]


def test_a_repeat_that_passed_without_named_tests_makes_a_failed_test_flaky() -> None:
    summary = TestReport(runner="vitest", source="summary", passed=2, failed=0)
    (test,) = report([ran("a", "logs in"), row("a", step("test", tests=summary), repeat=2)]).tests
    assert (test.number, test.flaky) == (0, ("a",))


def test_a_repeat_whose_failed_tests_have_no_names_says_nothing_of_one() -> None:
    summary = TestReport(runner="vitest", source="summary", passed=0, failed=2)
    (test,) = report([ran("a", "x"), row("a", step("test", 1, tests=summary), repeat=2)]).tests
    assert (test.number, test.flaky) == (1, ())


def test_a_test_that_did_not_run_this_time_is_not_mended() -> None:
    previous = report([ran("a", "pays"), row("b", step("build", 1))])
    current = report([row("a", step("build", 1)), ran("b", "logs in")], previous=previous)
    assert current.comparison is not None
    assert (current.comparison.tests_mended, current.comparison.tests_broken) == ((), ())


def test_every_format_names_the_single_tests() -> None:
    previous = report([ran("a"), ran("b")])
    found = report([ran("a", "logs <in>"), ran("b", flaky=("pays",))], previous=previous)
    suites = ET.fromstring(render(found, "junit"))  # noqa: S314 -- ours
    named = {case.get("name", ""): case for case in suites.iter("testcase")}
    assert named["test: a.test.ts: logs <in>"].find("failure") is not None
    assert named["test: a.test.ts: adds"].find("failure") is None
    assert named["test"].find("failure") is not None, "the failed step keeps its output"
    assert named["test: a.test.ts: pays"].find("system-out") is not None
    html = render(found, "html")
    assert "a.test.ts: logs &lt;in&gt;" in html
    assert "<b>1</b> test broken" in html
    markdown = render(found, "markdown")
    assert "| 1 | 0 | `a.test.ts: logs <in>` | `a` |" in markdown
    assert "**Tests broken 1**: `logs <in> (a)`" in markdown


def test_html_and_markdown_show_what_was_proven_and_what_was_expected(tmp_path: Path) -> None:
    proven = (Proven(check=CheckName.TESTS, step="test", words="2 tests passed"),)
    missing = Unproven(check=CheckName.TESTS, reason="no <Postgres> here", decides=True)
    rows = [
        row("a", step("test"), proven=proven),
        row("b", step("build"), verdict=Verdict.INCOMPLETE, unproven=(missing,)),
    ]
    (tmp_path / "e.csv").write_text("project,verdict\na,failed\nb,passed\n")
    found = report(rows, expected=read_expected(tmp_path / "e.csv"))
    html = render(found, "html")
    assert '<b class="passed">Proven</b> 2 tests passed' in html
    assert "tests: no &lt;Postgres&gt; here" in html
    assert '<p class="change bad"><b>1</b> false green</p>' in html
    markdown = render(found, "markdown")
    assert "right 0 · false green 1 · false red 0 · unproven 1 · miscounted 0" in markdown
    assert "| `a` | passed (false green) | failed | `2 tests passed` |" in markdown
