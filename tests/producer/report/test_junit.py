"""JUnit XML, read back by somebody else's parser."""

from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from revalid.jobs.result import Verdict
from revalid.producer.report import Row, write
from tests.producer.report.samples import failing, report, row, step, unfinished


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "junit.xml"


def suites(path: Path, *rows: Row) -> list[TestSuite]:
    write(report(rows), "junit", path)
    return list(JUnitXml.fromfile(str(path)))


def cases(path: Path, made: Row) -> list[TestCase]:
    (suite,) = suites(path, made)
    assert suite.tests == len(list(suite))
    return list(suite)


def test_a_project_is_a_suite_and_a_step_a_case(path: Path) -> None:
    lint = step("lint", None, skipped_reason="no script lint")
    made = row("shop", step("install", duration_s=1.5), lint, step("test", 1, stdout="boom"))
    first, second = suites(path, made, row("blog", step("test")))
    assert (first.name, first.tests, first.failures, first.errors, first.skipped) == (
        *("shop", 3, 1),
        *(0, 1),
    )
    install, skipped, failed = first
    assert (install.classname, install.name, install.time) == ("shop", "install", 1.5)
    assert install.is_passed
    assert [(type(one), one.message) for one in skipped.result] == [(Skipped, "no script lint")]
    (failure,) = failed.result
    assert (type(failure), failure.type, failure.message) == (Failure, "failed", "boom")
    assert "boom" in failure.text
    assert (second.name, second.failures, second.time) == ("blog", 0, 1.0)
    whole = JUnitXml.fromfile(str(path))
    assert (whole.tests, whole.failures, whole.skipped, whole.time) == (4, 1, 1, 4.0)


@pytest.mark.parametrize("verdict", [Verdict.ERRORED, Verdict.REJECTED, Verdict.CANCELLED])
def test_a_failure_without_a_failed_step_is_an_error_of_the_job(
    path: Path, verdict: Verdict
) -> None:
    for steps in ((), (step("install"),)):
        job = cases(path, row("a", *steps, verdict=verdict, error="no engine answers"))[-1]
        (error,) = job.result
        assert (type(error), error.type, error.message) == (Error, verdict, "no engine answers")
        assert job.classname == "a"


def test_a_project_that_was_not_submitted_is_an_error(path: Path) -> None:
    (job,) = cases(path, Row(project="a", error="no such directory"))
    assert isinstance(job.result[0], Error)


def test_a_job_at_its_own_limit_is_a_failure(path: Path) -> None:
    *_, job = cases(path, row("a", step("install"), verdict=Verdict.TIMED_OUT))
    assert [type(one) for one in job.result] == [Failure]


def test_a_job_that_is_not_done_is_skipped(path: Path) -> None:
    (job,) = cases(path, unfinished("a"))
    assert [(type(one), one.message) for one in job.result] == [(Skipped, "not done")]


def test_a_passed_job_whose_steps_are_not_known_is_one_case(path: Path) -> None:
    (job,) = cases(path, row("a"))
    assert job.is_passed


def test_limits_are_named(path: Path) -> None:
    slow = step("build", 143, timed_out=True, duration_s=9.0)
    big = step("test", 137, limit_exceeded="memory", limit_value="8 GiB")
    failures = [case.result[0] for case in cases(path, row("a", slow, big))]
    assert [(one.type, one.message) for one in failures] == [
        ("timed_out", "timed out after 9.0 s"),
        ("limit_exceeded", "over its memory limit of 8 GiB"),
    ]


def test_a_step_that_may_fail_does_not_fail(path: Path) -> None:
    (audit,) = cases(path, row("a", step("audit", 1, allow_failure=True, stdout="2 found")))
    assert audit.is_passed
    assert "2 found" in audit.system_out


def test_any_text_makes_a_document_that_parses(path: Path) -> None:
    text = "\x1b[31mred\x1b[0m \x00\x08\x0b\ufffe\uffff <b>&amp; ]]> é 🎉"
    bad = step(text, 1, command=text, stdout=text)
    for made in (row(text, bad, labels={text: text}), row(text, verdict=None, error=text)):
        (suite,) = suites(path, made)
        assert suite.name == "red  <b>&amp; ]]> é 🎉"
    failure = cases(path, failing("a", "test", text))[1].result[0]
    assert failure.text == "red  <b>&amp; ]]> é 🎉"


def test_much_output_is_cut_and_says_so(path: Path) -> None:
    failure = cases(path, failing("a", "test", "x" * 100_000 + "the end"))[1].result[0]
    assert len(failure.text) < 33_000
    assert "67239 characters left out" in failure.text
    assert "the end" in failure.text


def test_repeats_are_suites_of_their_own(path: Path) -> None:
    names = [suite.name for suite in suites(path, row("a"), row("a", repeat=2))]
    assert names == ["a", "a (repeat 2)"]


def test_a_reused_verdict_took_no_time(path: Path) -> None:
    made = row("a", step("install"), step("test", 1), reused=True, queued_s=0.5)
    (suite,) = suites(path, made)
    assert (suite.time, [case.time for case in suite]) == (0.0, [0.0, 0.0])
    assert JUnitXml.fromfile(str(path)).time == 0.0
    facts = {each.name: each.value for each in suite.properties()}  # type: ignore[no-untyped-call]
    assert facts == {
        "id": made.id,
        "verdict": "failed",
        "failed_step": "test",
        "duration_s": "2.0",
        "queued_s": "0.5",
        "reused": "true",
    }
