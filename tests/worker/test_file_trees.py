"""Trees that are too deep for recursion and for a path."""

import os
from pathlib import Path

import pytest

from revalid.worker.file_trees import remove_tree, temporary_directory, walk

DEEPER_THAN_A_PATH = 5_000


def make_deep(directory: Path, depth: int) -> None:
    """Create nested directories, each named ``d``."""
    here = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_deep_tree_is_removed(tmp_path: Path) -> None:
    with temporary_directory("deep-", tmp_path) as directory:
        make_deep(directory, DEEPER_THAN_A_PATH)
        (directory / "d" / "file").touch()
        (directory / "d" / "link").symlink_to("/")
    assert not directory.exists()


def test_directories_without_permissions_are_removed(tmp_path: Path) -> None:
    inner = tmp_path / "shut" / "in" / "deeper"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    for directory in (inner, inner.parent, inner.parent.parent):
        directory.chmod(0)
    remove_tree(tmp_path / "shut")
    assert list(tmp_path.iterdir()) == []


def test_link_is_removed_and_not_its_target(tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(target)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_walk_is_sorted_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "file").touch()
    (tmp_path / "a").symlink_to(tmp_path)
    assert [path for path, _ in walk(tmp_path)] == ["a", "b", "b/c", "b/file"]


def test_walk_skips_unreachable_directories(tmp_path: Path) -> None:
    with temporary_directory("deep-", tmp_path) as directory:
        make_deep(directory, DEEPER_THAN_A_PATH)
        assert 1_000 < len(list(walk(directory))) < DEEPER_THAN_A_PATH
        with pytest.raises(OSError, match="too long"):
            list(walk(directory, strict=True))
