"""Files that reports are written to and read from."""

import json
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidJob
from revalid.producer.report import FORMATS, BatchReport, read, write
from revalid.producer.report.formats import check_path
from tests.producer.report.samples import failing, report, row, unfinished


@pytest.fixture
def made() -> BatchReport:
    rows = [row("a"), failing("b", "test", "boom\n"), unfinished("c")]
    return report(rows, previous=report(rows[:2], id="before"))


def test_json_is_read_back(made: BatchReport, tmp_path: Path) -> None:
    write(made, "json", tmp_path / "report.json")
    assert read(tmp_path / "report.json") == made
    (tmp_path / "plain.json").write_text(json.dumps(made.document(steps=False)))
    plain = read(tmp_path / "plain.json")
    assert plain.counts == made.counts
    assert plain.jobs[1] == made.jobs[1].model_copy(update={"steps": ()})


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_replaced_and_nothing_else_is_left(
    made: BatchReport, tmp_path: Path, format: str
) -> None:
    path = tmp_path / "report"
    path.write_text("old")
    write(made, format, path)
    assert list(tmp_path.iterdir()) == [path]
    assert len(path.read_text()) > 100


def test_an_old_file_stays_where_the_new_one_cannot_be_written(
    made: BatchReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(part: Path, data: bytes) -> int:
        part.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InvalidJob, match=r"report\.json: No space left on device"):
        write(made, "json", path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to_and_stays_one(made: BatchReport, tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to("/dev/null")
    write(made, "json", path)
    assert path.is_symlink()


@pytest.mark.parametrize("where", ["missing/report.json", "."])
def test_a_path_that_cannot_be_written_is_named(
    made: BatchReport, tmp_path: Path, where: str
) -> None:
    with pytest.raises(InvalidJob, match=f"cannot write the report .*{tmp_path.name}"):
        write(made, "json", tmp_path / where)


@pytest.mark.parametrize("where", ["missing/report.json", "."])
def test_an_unwritable_path_is_detected_in_advance(tmp_path: Path, where: str) -> None:
    with pytest.raises(InvalidJob, match=f"--report .*{tmp_path.name}.*; name a file in a"):
        check_path(tmp_path / where)


def test_checking_a_path_leaves_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    for path in (tmp_path / "new", tmp_path / "old", Path("/dev/null")):
        check_path(path)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("old", "old")]


def test_an_unknown_format_names_those_that_are_known(made: BatchReport, tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="'pdf': choose one of junit, html, json, csv, markdown"):
        write(made, "pdf", tmp_path / "report.pdf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html>", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a report of a batch"),
        ('{"schema_version": 1, "id": "a", "verdict": "passed"}', "is not a report of a batch"),
        ('{"schema_version": 2, "counts": {}}', "version 2: this revalid reads 1"),
        ('{"schema_version": 1, "counts": {}}', "is not a report of a batch: id: Field required"),
    ],
)
def test_a_file_that_is_not_a_report_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InvalidJob, match=rf"other\.json {said}|other\.json is a report of {said}"):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match=r"cannot read the report .*gone\.json: No such file"):
        read(tmp_path / "gone.json")
