"""Expected verdicts: the file, and the kinds of difference."""

from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidJob
from revalid.jobs.result import TestReport, Verdict
from revalid.producer.report import Row
from revalid.producer.report.expected import check_expected, read_expected
from tests.producer.report.samples import failing, report, row, step, unfinished


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "expected.csv"
    path.write_text(text)
    return path


def counted(passed: int, failed: int = 0) -> TestReport:
    return TestReport(source="summary", passed=passed, failed=failed)


def test_each_row_is_right_or_wrong_in_one_way(tmp_path: Path) -> None:
    lines = (
        "project,verdict,tests_executed",
        "good,passed,2",
        "bad,failed or timed_out,",
        "false-green,failed,",
        "false-red,passed,",
        "unproven,passed,",
        "lost,passed,",
        "fewer,passed,3",
        "uncounted,passed,1",
    )
    expected = read_expected(written(tmp_path, "\n".join(lines)))
    two = {"tests_executed": 2, "tests_failed": 0}
    rows = [
        row("good", step("test", tests=counted(2)), **two),
        failing("bad", "test", "error: no"),
        row("false-green", step("build")),
        failing("false-red", "build", "error TS2322: Type 'a' is not 'b'."),
        row("unproven", verdict=Verdict.INCOMPLETE),
        unfinished("lost"),
        row("fewer", step("test", tests=counted(2)), **two),
        row("uncounted", step("test")),
    ]
    found = report(rows, expected=expected).expectations
    assert found is not None
    assert (found.right, found.false_green, found.false_red) == (2, 1, 1)
    assert (found.unproven, found.miscounted) == (2, 2)
    assert found.table == {
        "failed": {"passed": 1},
        "failed or timed_out": {"failed": 1},
        "passed": {"passed": 3, "failed": 1, "incomplete": 1, "pending": 1},
    }
    wrong = {judged.project: (judged.kind, judged.reason) for judged in found.wrong}
    assert wrong["false-green"] == ("false_green", "nothing failed")
    assert wrong["false-red"][1] == "build: TS2322: Type 'a' is not 'b'."
    assert wrong["fewer"] == ("miscounted", "tests executed: 2, not 3")
    assert wrong["uncounted"] == ("miscounted", "tests executed: not counted, not 1")


def test_without_a_file_nothing_is_judged() -> None:
    assert report([row("good", step("build"))]).expectations is None


def test_a_row_counts_the_tests_of_all_its_steps() -> None:
    assert (Row(project="a").tests_executed, Row(project="a").tests_failed) == (None, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("project\na\n", "columns project and verdict"),
        ("", "columns project and verdict"),
        ("project,verdict,colour\na,passed,red\n", "columns project and verdict"),
        ("project,verdict\n", "it has no project"),
        ("project,verdict\na,green\n", r"expected.csv:2: .*'green': write one or more of passed"),
        ("project,verdict\na,passed or\n", "write one or more of passed"),
        ("project,verdict\n,passed\n", "expected.csv:2: it names no project"),
        ("project,verdict\na,passed\na,failed\n", "expected.csv:3: a has two lines: remove one"),
        ("project,verdict\na\n", "expected.csv:2: the number of columns differs"),
        ("project,verdict,tests_failed\na,failed,-1\n", "expected.csv:2: .*tests_failed"),
        ("project,verdict,tests_failed\na,failed,many\n", "expected.csv:2: .*tests_failed"),
    ],
)
def test_a_bad_file_is_an_error_that_names_the_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidJob, match=f"(?s)--expect .*{says}"):
        read_expected(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="No such file"):
        read_expected(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes(b"project,verdict\n\xe9,passed\n")
    with pytest.raises(InvalidJob, match="not UTF-8"):
        read_expected(tmp_path / "latin.csv")


def test_the_file_and_the_batch_name_the_same_projects() -> None:
    check_expected(["a", "b"], ["a", "b"], narrowed=False)
    check_expected(["a", "b"], ["a"], narrowed=True)
    with pytest.raises(InvalidJob, match="names b, and the batch has no such project"):
        check_expected(["a", "b"], ["a"], narrowed=False)
    with pytest.raises(InvalidJob, match="has no line for c: add one"):
        check_expected(["a"], ["a", "c"], narrowed=True)
