"""The start of a file is read without following a link or waiting for a pipe."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from revalid.jobs.projects.file_start import read_start
from revalid.jobs.projects.git_checkout import asks_for_git


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"start and end")
    assert read_start(tmp_path / "file", 5) == b"start"
    assert read_start(tmp_path / "none", 5) is None


def linked_pipe(path: Path) -> None:
    os.mkfifo(path.parent / "pipe")
    path.symlink_to("pipe")


def linked_file(path: Path) -> None:
    (path.parent / "file").write_text("git rev-parse HEAD")
    path.symlink_to("file")


def next_descriptor() -> int:
    with Path(os.devnull).open() as file:
        return file.fileno()


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, linked_pipe, linked_file])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "build.sh")
    free = next_descriptor()
    assert read_start(tmp_path / "build.sh", 5) is None
    assert not asks_for_git("build.sh", tmp_path / "build.sh")
    assert next_descriptor() == free
