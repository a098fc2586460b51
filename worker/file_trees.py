"""Trees of files that a project made: of any depth, and with any permissions."""

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def walk(root: Path, *, strict: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below ``root``, by its path from there; no link is followed.

    Args:
        strict: Raise where something cannot be read; otherwise it is passed over.

    Raises:
        OSError: As said.
    """
    waiting = [""]
    while waiting:
        above = waiting.pop()
        directories = []
        try:
            with os.scandir(f"{root}/{above}") as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            if strict:
                raise
            continue
        for entry in found:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                if strict:
                    raise
                continue
            yield above + entry.name, status
            if stat.S_ISDIR(status.st_mode):
                directories.append(f"{above}{entry.name}/")
        waiting += reversed(directories)


@contextmanager
def temporary_directory(prefix: str, root: Path | None) -> Iterator[Path]:
    """A private directory below ``root``, or the system's temporary one; gone afterwards."""
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    try:
        yield made
    finally:
        with suppress(OSError):
            remove_tree(made)


def remove_tree(directory: Path) -> None:
    """Remove a directory with everything in it, where it is there.

    What is deep in it moves up first, so no path is too long, and nothing here recurses.

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
    """Remove ``name`` of a directory; the directories in it become its neighbours."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
        os.unlink(name, dir_fd=top)
        return
    os.chmod(name, 0o700, dir_fd=top)
    inner = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for child in os.listdir(inner):  # noqa: PTH208 - of a descriptor
            if stat.S_ISDIR(os.lstat(child, dir_fd=inner).st_mode):
                os.chmod(child, 0o700, dir_fd=inner)  # a move changes what is in it
                os.rename(child, secrets.token_hex(8), src_dir_fd=inner, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)
