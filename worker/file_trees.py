"""Walks and removes trees of files of any depth and with any permissions."""

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from revalid.jobs.errors import InvalidProject
from revalid.jobs.globs import Rules, TooMuchWork, Work

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def walk(
    root: Path, *, strict: bool = False, skip: Collection[str] = ()
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the relative path and status of everything below ``root``; follow no link.

    A link that replaces a directory meanwhile is not followed either.

    Args:
        strict: Raise if something cannot be read; otherwise skip it.
        skip: Names of directories that are not entered.

    Raises:
        OSError: ``strict`` is set, and something cannot be read.
    """
    real, waiting = os.path.realpath(root), [""]
    while waiting:
        prefix = waiting.pop()
        directories = []
        try:
            for name, status in _entries(real, prefix, strict=strict):
                yield prefix + name, status
                if stat.S_ISDIR(status.st_mode) and name not in skip:
                    directories.append(f"{prefix}{name}/")
        except OSError:
            if strict:
                raise
        waiting += reversed(directories)


def _entries(root: str, prefix: str, *, strict: bool) -> Iterator[tuple[str, os.stat_result]]:
    with _opened(root, prefix) as directory, os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except OSError:
                if strict:
                    raise


@contextmanager
def _opened(root: str, prefix: str) -> Iterator[int]:
    """Open a directory, but not through a link."""
    directory = os.open(f"{root}/{prefix}", _DIRECTORY)
    try:
        with suppress(FileNotFoundError):  # not on Linux
            name = os.readlink(f"/proc/self/fd/{directory}")  # noqa: PTH115 - of many
            if name.rstrip("/") != f"{root}/{prefix}".rstrip("/"):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), prefix)
        yield directory
    finally:
        os.close(directory)


def matching_files(root: Path, globs: Sequence[str]) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Yield the regular files below ``root`` that a glob matches, directly or by a parent.

    Raises:
        InvalidProject: There are too many globs for so many files.
    """
    rules, work = Rules(f"/{glob.lstrip('/')}" for glob in globs), Work()
    if root.is_symlink():
        return
    for relative, status in walk(root):
        try:
            work.compare(relative, rules.weight)
        except TooMuchWork as error:
            raise InvalidProject(str(error)) from None
        if stat.S_ISREG(status.st_mode) and rules.verdict(relative):
            yield relative, root / relative, status


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


def make_harmless(root: Path) -> None:
    """Remove sockets, pipes and devices below ``root``, and special permission bits of the rest.

    Raises:
        OSError: A file cannot be removed or changed.
    """
    for name, status in walk(root):
        kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            (root / name).unlink()
        elif mode & ~0o777 and kind != stat.S_IFLNK:
            (root / name).chmod(mode & 0o777)


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
    inner = _taken(top, name)
    try:
        for child in os.listdir(inner):  # noqa: PTH208 - of a descriptor
            if stat.S_ISDIR(os.lstat(child, dir_fd=inner).st_mode):
                os.close(_taken(inner, child))  # a move rewrites its ".." entry
                os.rename(child, secrets.token_hex(8), src_dir_fd=inner, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)


def _taken(top: int, name: str) -> int:
    """Open a directory, after giving its owner all permissions.

    Raises:
        OSError: It is not a directory, or a link replaced it.
    """
    try:
        directory = os.open(name, _DIRECTORY, dir_fd=top)
    except PermissionError:
        handle = os.open(name, _DIRECTORY | os.O_PATH, dir_fd=top)
        try:
            Path(f"/proc/self/fd/{handle}").chmod(0o700)
        finally:
            os.close(handle)
        return os.open(name, _DIRECTORY, dir_fd=top)
    os.fchmod(directory, 0o700)
    return directory
