"""Files below a root by descriptors: what a link leads to is found again by no name.

A project's processes have ended when the worker looks at its files, but one of them may have
handed a directory to a command of another sandbox, which changes links meanwhile.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_MOST_LINKS = 40
_CHUNK = 2**20
_ANY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LeadsOut(Exception):
    """A link on the way leads outside of the root."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads.

    Attributes:
        parent: Descriptor of its directory, or of the last one on the way that there is.
        missing: Directories on the way that there are not.
        name: Of the last part; ``.`` where ``parent`` is the place itself.
        path: With all links resolved.
    """

    parent: int
    missing: tuple[str, ...]
    name: str
    path: str

    @property
    def existing(self) -> str:
        """The name; raises :class:`FileNotFoundError` where directories on the way are missing."""
        if self.missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self.name

    @property
    def status(self) -> os.stat_result:
        """Of what is there, which may be a link."""
        return os.stat(self.existing, dir_fd=self.parent, follow_symlinks=False)


@contextmanager
def found(root: Path, path: str, *, follow: bool = True, make: bool = False) -> Iterator[Place]:
    """Find ``path``, which is absolute and normalised, below ``root``.

    Args:
        follow: Where the last part is a link, go where it leads.
        make: Make the directories on the way.

    Raises:
        LeadsOut: As said.
        OSError: It cannot be reached.
    """
    way = _Way(root)
    try:
        way.go(path, follow=follow, make=make)
        name = way.missing.pop() if way.missing else way.last
        yield Place(way.directory, tuple(way.missing), name, "/" + "/".join(way.names))
    finally:
        way.close()


@contextmanager
def opened_directory(root: Path, path: str) -> Iterator[int]:
    """A descriptor of a directory that can be listed.

    Raises:
        LeadsOut, OSError: As :func:`found`; also where it is no directory.
    """
    with found(root, path) as place:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        descriptor = os.open(place.existing, flags, dir_fd=place.parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_file(place: Place) -> Iterator[tuple[int, os.stat_result]]:
    """A descriptor of a regular file.

    Raises:
        OSError: There is none.
    """
    _check_regular(place.status)
    # Without waiting for who writes to a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(place.name, flags, dir_fd=place.parent)
    try:
        status = os.fstat(descriptor)
        _check_regular(status)
        yield descriptor, status
    finally:
        os.close(descriptor)


def make_directory(place: Place) -> None:
    """Make it where it is missing; the directories above are there.

    Raises:
        OSError: It is something else.
    """
    with suppress(FileExistsError):
        os.mkdir(place.existing, dir_fd=place.parent)
    if not stat.S_ISDIR(place.status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def put_file(place: Place, data: bytes, mode: int) -> None:
    """Make a file whole or not at all; a link in its place is replaced, not followed."""

    def fill(descriptor: int) -> None:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fchmod(descriptor, mode)

    _put(place, lambda name: _filled(place.parent, name, fill))


def put_copy(place: Place, source: int | None, status: os.stat_result) -> None:
    """The same with what another file holds, holes as holes, its time, and who may do what.

    It gets no set-user-id: the file may be root's.

    Args:
        source: None for nothing but holes.
    """

    def fill(descriptor: int) -> None:
        if source is not None:
            _copy(source, descriptor, status.st_size)
        os.ftruncate(descriptor, status.st_size)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & 0o777)
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))

    _put(place, lambda name: _filled(place.parent, name, fill))


def put_link(place: Place, target: str) -> None:
    """The same for a link."""
    _put(place, lambda name: os.symlink(target, name, dir_fd=place.parent))


def _put(place: Place, make: Callable[[str], object]) -> None:
    temporary = f".revalid-{secrets.token_hex(8)}"
    try:
        make(temporary)
        os.replace(temporary, place.name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place.parent)
        raise


def _filled(parent: int, name: str, fill: Callable[[int], None]) -> None:
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
        if start < end:  # it became shorter
            return


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")


class _Way:
    """A way down from a root.

    Attributes:
        directory: Descriptor of the last directory on it that there is.
        names: Of all parts gone, no link among them.
        missing: Of those which there are not.
        last: The last part below ``directory``; ``.`` where that is where the way ends.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.directory = os.open(root, _ANY)
        self.names: list[str] = []
        self.missing: list[str] = []
        self.last = "."

    def close(self) -> None:
        os.close(self.directory)

    def go(self, path: str, *, follow: bool, make: bool) -> None:
        waiting = _parts(path)
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                self._up()
                continue
            is_last = not waiting
            target = None if self.missing or (is_last and not follow) else self._link(name)
            if target is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                waiting += _parts(self._from_here(target))
                continue
            self.names.append(name)
            if self.missing:
                self.missing.append(name)
            elif not is_last:
                self._down(name, make=make)
            if is_last:
                self.last = name

    def _from_here(self, target: str) -> str:
        if not target.startswith("/"):
            return target
        below = os.path.normpath(target)
        if not Path(below).is_relative_to(self._root):
            raise LeadsOut
        self._again([])
        return os.path.relpath(below, self._root)

    def _link(self, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=self.directory)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise

    def _up(self) -> None:
        if not self.names:
            raise LeadsOut
        if self.missing:
            self.names.pop()
            self.missing.pop()
        else:
            self._again(self.names[:-1])

    def _again(self, names: list[str]) -> None:
        """Go from the root to a directory that was gone through: a descriptor for each is many."""
        os.close(self.directory)
        self.directory = os.open(self._root, _ANY)
        self.names, self.missing = list(names), []
        for name in names:
            self._down(name, make=False)

    def _down(self, name: str, *, make: bool) -> None:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.directory)
        try:
            inner = os.open(name, _ANY, dir_fd=self.directory)
        except FileNotFoundError:
            self.missing.append(name)
            return
        os.close(self.directory)
        self.directory = inner


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
