"""Opens files below a root through descriptors, so that no link is resolved twice.

A project's processes have ended when the worker reads its files. But one of them may have passed a
directory to a command of another sandbox, which changes links at the same time.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_MAX_LINKS = 40
_CHUNK = 2**20
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LinkOutside(Exception):
    """A link in the path leads outside the root."""


@dataclass(frozen=True, slots=True)
class Location:
    """The place that a path leads to.

    Attributes:
        parent: Descriptor of its directory, or of the last existing directory of the path.
        missing: Missing directories of the path.
        name: The last part of the path; ``.`` if ``parent`` is the place itself.
        path: The path with all links resolved.
    """

    parent: int
    missing: tuple[str, ...]
    name: str
    path: str

    @property
    def existing(self) -> str:
        """The name; raises :class:`FileNotFoundError` if directories of the path are missing."""
        if self.missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.name

    @property
    def status(self) -> os.stat_result:
        """The status of the file, directory or link there."""
        return os.stat(self.existing, dir_fd=self.parent, follow_symlinks=False)


@contextmanager
def locate(
    root: Path, path: str, *, follow: bool = True, create: bool = False
) -> Iterator[Location]:
    """Locate ``path``, which is absolute and normalised, below ``root``.

    Args:
        follow: Whether to follow the last part if it is a link.
        create: Whether to create missing directories of the path.

    Raises:
        LinkOutside: A link in the path leads outside ``root``.
        OSError: The path cannot be reached.
    """
    walk = _Walk(root)
    try:
        walk.follow_path(path, follow=follow, create=create)
        name = walk.missing.pop() if walk.missing else walk.last
        yield Location(walk.directory, tuple(walk.missing), name, "/" + "/".join(walk.names))
    finally:
        walk.close()


@contextmanager
def opened_directory(root: Path, path: str) -> Iterator[int]:
    """Yield the descriptor of a directory that can be listed.

    Raises:
        LinkOutside, OSError: As :func:`locate`. OSError also if it is not a directory.
    """
    with locate(root, path) as location:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        descriptor = os.open(location.existing, flags, dir_fd=location.parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_file(location: Location) -> Iterator[tuple[int, os.stat_result]]:
    """Yield the descriptor and the status of a regular file.

    Raises:
        OSError: There is no regular file.
    """
    _check_regular(location.status)
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(location.name, flags, dir_fd=location.parent)
    try:
        status = os.fstat(descriptor)
        _check_regular(status)
        yield descriptor, status
    finally:
        os.close(descriptor)


def make_directory(location: Location) -> None:
    """Create a directory if it is missing; its parents must exist.

    Raises:
        OSError: Something other than a directory is there.
    """
    with suppress(FileExistsError):
        os.mkdir(location.existing, dir_fd=location.parent)
    if not stat.S_ISDIR(location.status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def write_file(location: Location, data: bytes, mode: int) -> None:
    """Write a file completely or not at all; a link there is replaced, not followed."""

    def fill(descriptor: int) -> None:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fchmod(descriptor, mode)

    _replace(location, lambda name: _write_new(location.parent, name, fill))


def copy_file(location: Location, source: int | None, status: os.stat_result) -> None:
    """Copy a file as :func:`write_file` writes one, with its holes, times and permissions.

    The set-user-id bit is not copied: root may own the new file.

    Args:
        source: Descriptor of the file; None makes a file of one hole.
        status: The status of the file.
    """

    def fill(descriptor: int) -> None:
        if source is not None:
            _copy(source, descriptor, status.st_size)
        os.ftruncate(descriptor, status.st_size)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & 0o777)
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))

    _replace(location, lambda name: _write_new(location.parent, name, fill))


def create_link(location: Location, target: str) -> None:
    """Create a link completely or not at all; a link there is replaced, not followed."""
    _replace(location, lambda name: os.symlink(target, name, dir_fd=location.parent))


def _replace(location: Location, create: Callable[[str], object]) -> None:
    temporary = f".revalid-{secrets.token_hex(8)}"
    try:
        create(temporary)
        os.replace(temporary, location.name, src_dir_fd=location.parent, dst_dir_fd=location.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=location.parent)
        raise


def _write_new(parent: int, name: str, fill: Callable[[int], None]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        fill(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: int, target: int, size: int) -> None:
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
            end = min(size, os.lseek(source, start, os.SEEK_HOLE))
        except OSError as error:
            if error.errno == errno.ENXIO:  # the rest is a hole
                break
            start, end = end, size
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(target, start, os.SEEK_SET)
        while start < end and (chunk := os.read(source, min(_CHUNK, end - start))):
            start += os.write(target, chunk)
            os.lseek(source, start, os.SEEK_SET)
        if start < end:  # the file became shorter
            return


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")


class _Walk:
    """A walk along a path below a root.

    Attributes:
        directory: Descriptor of the last existing directory.
        names: The parts of the path so far, with links resolved.
        missing: The parts among them that do not exist.
        last: The last part below ``directory``; ``.`` if the walk ends at ``directory``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.directory = os.open(root, _DIRECTORY)
        self.names: list[str] = []
        self.missing: list[str] = []
        self.last = "."

    def close(self) -> None:
        os.close(self.directory)

    def follow_path(self, path: str, *, follow: bool, create: bool) -> None:
        waiting = _parts(path)
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                self._enter_parent()
                continue
            is_last = not waiting
            target = None if self.missing or (is_last and not follow) else self._read_link(name)
            if target is not None:
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                waiting += _parts(self._relative_target(target))
                continue
            self.names.append(name)
            if self.missing:
                self.missing.append(name)
            elif not is_last:
                self._enter(name, create=create)
            if is_last:
                self.last = name

    def _relative_target(self, target: str) -> str:
        if not target.startswith("/"):
            return target
        below = os.path.normpath(target)
        if not Path(below).is_relative_to(self._root):
            raise LinkOutside
        self._restart([])
        return os.path.relpath(below, self._root)

    def _read_link(self, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=self.directory)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise

    def _enter_parent(self) -> None:
        if not self.names:
            raise LinkOutside
        if self.missing:
            self.names.pop()
            self.missing.pop()
        else:
            self._restart(self.names[:-1])

    def _restart(self, names: list[str]) -> None:
        """Walk again from the root: a descriptor for every visited directory would be too many."""
        os.close(self.directory)
        self.directory = os.open(self._root, _DIRECTORY)
        self.names, self.missing = list(names), []
        for name in names:
            self._enter(name, create=False)

    def _enter(self, name: str, *, create: bool) -> None:
        if create:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.directory)
        try:
            inner = os.open(name, _DIRECTORY, dir_fd=self.directory)
        except FileNotFoundError:
            self.missing.append(name)
            return
        os.close(self.directory)
        self.directory = inner


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
