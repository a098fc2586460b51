"""Overlays are directories of regular files, packed whole."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.overlay import check_overlay, pack_overlay
from revalid.jobs.projects.tarball import Bounds, unpack

BOUNDS = Bounds(files=10, bytes=1_000)


def pack(root: Path) -> BytesIO:
    out = BytesIO()
    pack_overlay(root, out, BOUNDS)
    return out


def test_its_files_are_packed(tmp_path: Path) -> None:
    root, into = tmp_path / "trusted", tmp_path / "into"
    (root / "tests").mkdir(parents=True)
    (root / "tests/a").write_text("a\n")
    packed = pack(root)
    packed.seek(0)
    into.mkdir()
    unpack(packed, into, BOUNDS)
    assert check_overlay(into) == ("tests/a",)


def make_link(root: Path) -> None:
    (root / "file").write_text("")
    (root / "link").symlink_to("file")


def make_directory_link(root: Path) -> None:
    (root / "directory").mkdir()
    (root / "directory/file").write_text("")
    (root / "link").symlink_to("directory")


def make_ignored(root: Path) -> None:
    (root / ".gitignore").write_text("secret\n")
    (root / "secret").write_text("")


def make_large(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 2_000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: root.rmdir(), "no such directory"),
        (lambda root: None, "no file"),
        (make_link, "'link': a link"),
        (make_directory_link, "'link': a link"),
        (make_ignored, "left out by"),
        (make_large, "1000"),
        (lambda root: (root / "a\nb").write_text(""), "rename it"),
    ],
    ids=["missing", "empty", "link", "link to a directory", "ignored", "large", "two lines"],
)
def test_what_cannot_be_laid_is_refused(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    root = tmp_path / "trusted"
    root.mkdir()
    make(root)
    with pytest.raises(InvalidProject, match=words):
        pack(root)
