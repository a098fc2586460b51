"""A batch has an item for each entry of a project's matrix."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.settings import load_settings
from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.matrix import with_matrix
from revalid.producer.options import SubmitOptions
from revalid.producer.submission import prepare

MATRIX = '[matrix]\npython = ["3.12", "3.13"]'
SETTINGS = load_settings({}, env_file=None)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A project with a matrix."""
    app = tmp_path / "app"
    app.mkdir()
    (app / "revalid.toml").write_text(MATRIX)
    return app


def names(origin: object, **options: Any) -> list[str]:
    """The names of a project's items."""
    return [item.project for item in with_matrix([item(origin)], options, SETTINGS)]


def item(origin: object) -> BatchItem:
    return BatchItem(project="app", origin=str(origin), options={"strategy": "python"})


def test_a_directory_and_its_archive_have_the_same_items(app: Path, tmp_path: Path) -> None:
    expected = ["app [python 3.12]", "app [python 3.13]"]
    assert names(app) == expected
    with tarfile.open(tmp_path / "app.tgz", "w:gz") as tar:
        tar.add(app, "app")
    assert names(tmp_path / "app.tgz") == expected
    made = with_matrix([item(app)], {}, SETTINGS)
    assert made[1].options == {"strategy": "python", "matrix": {"python": "3.13"}}


@pytest.mark.parametrize("options", [{"image": "python:3.14"}, {"project_config": False}])
def test_the_caller_wins(app: Path, options: dict[str, Any]) -> None:
    assert names(app, **options) == ["app"]


def test_beside_an_overlay_its_matrix_counts(app: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "trusted"
    overlay.mkdir()
    (overlay / "a.test.js").touch()
    assert names(app, overlay=str(overlay)) == ["app"]
    with prepare(SETTINGS, app, overlay=overlay) as submission:
        assert submission.for_each() == [submission]
    (overlay / "revalid.toml").write_text("[matrix]\nnode = [22]")
    assert names(app, overlay=str(overlay)) == ["app [node 22]"]


def test_what_cannot_be_read_is_left_to_the_submit(app: Path, tmp_path: Path) -> None:
    (app / "revalid.toml").write_text("nonsense")
    assert names(app) == ["app"]
    (app / "revalid.toml").unlink()
    (tmp_path / "outside.toml").write_text(MATRIX)
    (app / "revalid.toml").symlink_to(tmp_path / "outside.toml")
    assert names(app) == ["app"]
    (tmp_path / "broken.tgz").write_bytes(b"broken")
    assert names(tmp_path / "broken.tgz") == ["app"]
    assert names("https://example.org/app.git") == ["app"]
    assert names(tmp_path / "none") == ["app"]


def test_a_submission_is_split_in_the_same_way(app: Path) -> None:
    def matrices(project: Path | bytes, **options: Any) -> list[dict[Any, str]]:
        given: SubmitOptions = options  # type: ignore[assignment]
        with prepare(SETTINGS, project, **given) as submission:
            split = submission.for_each()
            assert len({each.job.id for each in split}) == len(split)
            return [each.job.matrix for each in split]

    expected = [{"python": "3.12"}, {"python": "3.13"}]
    assert matrices(app) == expected
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(app, "app")
    assert matrices(packed.getvalue()) == expected
    assert matrices(app, image="python:3.14") == [{}]
    assert matrices(app, project_config=False) == [{}]
    assert matrices(app, matrix={"python": "3.14"}) == [{"python": "3.14"}]
