"""Walks and removes trees of files of any depth and with any permissions."""

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def walk(root: Path, *, strict: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the relative path and status of everything below ``root``; follow no link.

    Args:
        strict: Raise if something cannot be read; otherwise skip it.

    Raises:
        OSError: ``strict`` is set, and something cannot be read.
    """
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        directories = []
        try:
            with os.scandir(f"{root}/{prefix}") as entries:
                sorted_entries = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            if strict:
                raise
            continue
        for entry in sorted_entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                if strict:
                    raise
                continue
            yield prefix + entry.name, status
            if stat.S_ISDIR(status.st_mode):
                directories.append(f"{prefix}{entry.name}/")
        waiting += reversed(directories)


@contextmanager
def temporary_directory(prefix: str, root: Path | None) -> Iterator[Path]:
    """Create a private directory below ``root``; remove it at the end.

    Args:
        root: The system's directory for temporary files if None.
    """
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    try:
        yield directory
    finally:
        with suppress(OSError):
            remove_tree(directory)


def remove_tree(directory: Path) -> None:
    """Remove a directory with everything in it, if it exists.

    Inner directories move up before they are removed, so no path is too long and nothing recurses.

    Raises:
        OSError: Something in it cannot be removed.
    """
    if directory.is_symlink():
        directory.unlink()
        return
    try:
        directory.chmod(0o700)
        top = os.open(directory, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        while names := os.listdir(top):  # noqa: PTH208 - of a descriptor
            for name in names:
                _remove_or_lift(top, name)
    finally:
        os.close(top)
    directory.rmdir()


def _remove_or_lift(top: int, name: str) -> None:
    """Remove the entry ``name`` of a directory; move its subdirectories one level up first."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
        os.unlink(name, dir_fd=top)
        return
    os.chmod(name, 0o700, dir_fd=top)
    inner = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for child in os.listdir(inner):  # noqa: PTH208 - of a descriptor
            if stat.S_ISDIR(os.lstat(child, dir_fd=inner).st_mode):
                os.chmod(child, 0o700, dir_fd=inner)  # a move rewrites its ".." entry
                os.rename(child, secrets.token_hex(8), src_dir_fd=inner, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)
