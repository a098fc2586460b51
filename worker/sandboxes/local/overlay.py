"""Lays an overlay over the local sandbox's workspace, and finds what commands changed of it."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from revalid.worker.file_trees import remove_tree
from revalid.worker.sandboxes.local import beneath
from revalid.worker.sandboxes.local.files import path_errors
from revalid.worker.sandboxes.protocol import WORKDIR
from revalid.worker.sandboxes.staging import file_names

Stamp: TypeAlias = tuple[int, int, int]
"""Device, inode and change time of a file: no process can set the last one back."""
_CHUNK = 2**20


def lay(root: Path, overlay: Path) -> dict[str, Stamp]:
    """Copy the files of ``overlay`` into the workspace below ``root``; return their stamps.

    A link or a file on the way is replaced by a directory, and never followed.
    """
    return lay_over(overlay, root, WORKDIR)


def lay_over(overlay: Path, root: Path, directory: str = "/") -> dict[str, Stamp]:
    """Copy the files of ``overlay`` into a directory below ``root``, as :func:`lay`."""
    stamps = {}
    for name in file_names(overlay):
        with path_errors("lay_overlay", name):
            for parent in _parents(directory, name):
                _make_directory(root, parent)
            path = os.path.join(directory, name)  # noqa: PTH118 - of the sandbox
            with (
                beneath.locate(overlay, f"/{name}", follow=False) as origin,
                beneath.opened_file(origin) as (source, status),
                beneath.locate(root, path, follow=False) as target,
            ):
                if _mode(target) is not None and stat.S_ISDIR(target.status.st_mode):
                    remove_tree(root / path.lstrip("/"))
                beneath.copy_file(target, source, status)
                mode = 0o555 if status.st_mode & 0o100 else 0o444
                with beneath.opened_file(target) as (descriptor, _):
                    os.fchmod(descriptor, mode)
                    stamps[name] = _stamp(os.fstat(descriptor))
    return stamps


def changed(root: Path, overlay: Path, stamps: dict[str, Stamp]) -> tuple[str, ...]:
    """Return the files of ``overlay`` that are not as :func:`lay` left them."""
    return tuple(
        name for name in file_names(overlay) if not _unchanged(root, overlay, name, stamps)
    )


def _unchanged(root: Path, overlay: Path, name: str, stamps: dict[str, Stamp]) -> bool:
    try:
        for parent in _parents(WORKDIR, name):
            with beneath.locate(root, parent, follow=False) as location:
                if not stat.S_ISDIR(location.status.st_mode):
                    return False
        with ExitStack() as stack:
            mine, status = stack.enter_context(_opened(root, f"{WORKDIR}/{name}"))
            trusted, expected = stack.enter_context(_opened(overlay, f"/{name}"))
            if _stamp(status) != stamps.get(name) or status.st_size != expected.st_size:
                return False
            while chunk := os.read(trusted, _CHUNK):
                if (
                    os.pread(mine, len(chunk), os.lseek(trusted, 0, os.SEEK_CUR) - len(chunk))
                    != chunk
                ):
                    return False
    except (OSError, beneath.LinkOutside):
        return False
    return True


@contextmanager
def _opened(root: Path, path: str) -> Iterator[tuple[int, os.stat_result]]:
    with (
        beneath.locate(root, path, follow=False) as location,
        beneath.opened_file(location) as opened,
    ):
        yield opened


def _parents(directory: str, name: str) -> list[str]:
    """Return a directory and those in it that lead to a file, the outermost first."""
    parents = [f"{directory}/{parent}" for parent in PurePosixPath(name).parents]
    return ["/" + os.path.normpath(parent).lstrip("/") for parent in reversed(parents)]


def _make_directory(root: Path, path: str) -> None:
    with beneath.locate(root, path, follow=False) as location:
        mode = _mode(location)
        if mode is not None and not stat.S_ISDIR(mode):
            os.unlink(location.name, dir_fd=location.parent)
        beneath.make_directory(location)


def _mode(location: beneath.Location) -> int | None:
    try:
        return location.status.st_mode
    except FileNotFoundError:
        return None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_ctime_ns
