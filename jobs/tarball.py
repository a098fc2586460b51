"""Project tarballs: packed the same way every time, and never trusted when read."""

import gzip
import hashlib
import lzma
import os
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import BinaryIO, Self

from jobs.errors import InvalidProject
from jobs.ignore import included

_MTIME = 499_162_500  # 1985-10-26, as npm packs: zip tools refuse 1970
_MAX_RATIO = 200
_RATIO_FROM_BYTES = 64 * 2**20
_MAX_HEADER_BYTES = 2**20


_UNREADABLE = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    OSError,
    ValueError,
    OverflowError,  # a time that no file can have
    RecursionError,  # thousands of extended headers in a row
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a project may hold."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a project holds: files, their unpacked bytes, and its one top directory if it has one.

    Attributes:
        top: Name of the only top-level entry where that is a directory, else the empty string.
    """

    files: int
    size_bytes: int
    top: str = ""


class _Member(tarfile.TarInfo):
    """A member with bounded headers: tarfile reads long names and sparse maps into memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> Self:
        extended = not (self.isreg() or self.isdir() or self.issym() or self.islnk())
        if self.size < 0 or (extended and self.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        member: Self = super()._proc_member(tar)  # type: ignore[misc]
        return member

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.ReadError("a sparse file")


@contextmanager
def writing(out: BinaryIO) -> Iterator[tarfile.TarFile]:
    """A gzipped tarball to add members to; equal members in equal order give equal bytes."""
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=4, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        yield tar


def pack(root: Path, out: BinaryIO, bounds: Bounds) -> Summary:
    """Pack a directory: sorted, without owners or times, so that equal trees give equal bytes.

    Raises:
        InvalidProject: Not a directory, unreadable, too large, or a link leads out of it.
    """
    if not root.is_dir():
        raise InvalidProject(f"project {root}: no such directory; give a directory or a tarball")
    files = size = 0
    with writing(out) as tar:
        for relative, path, status in included(root):
            info = tarfile.TarInfo(relative)
            info.mtime = _MTIME
            files += 1
            if stat.S_ISREG(status.st_mode):
                info.size = status.st_size
                info.mode = 0o755 if status.st_mode & 0o100 else 0o644
                size += info.size
                _check_bounds(files, size, bounds)
                _add_file(tar, info, path)
                continue
            _check_bounds(files, size, bounds)
            if stat.S_ISDIR(status.st_mode):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.type, info.mode = tarfile.SYMTYPE, 0o777
                info.linkname = str(path.readlink())
                _check_link(info)
            tar.addfile(info)
    if not files:
        raise InvalidProject(f"project {root}: holds no files besides what is left out")
    return Summary(files, size)


def check(file: BinaryIO, bounds: Bounds) -> Summary:
    """Read a whole tarball, and refuse it where unpacking could harm.

    Raises:
        InvalidProject: Unreadable, truncated, too large, or an entry is unsafe.
    """
    return _read(file, bounds, None)


def unpack(file: BinaryIO, into: Path, bounds: Bounds) -> Summary:
    """Unpack a tarball below ``into``, an empty directory; what :func:`check` refuses, this does.

    Raises:
        InvalidProject: As :func:`check`; ``into`` may then hold a part.
    """
    return _read(file, bounds, into)


def digest(file: BinaryIO) -> str:
    """sha256 of a file, in hex; the file is left at its start."""
    file.seek(0)
    sha = hashlib.sha256()
    while chunk := file.read(1 << 20):
        sha.update(chunk)
    file.seek(0)
    return sha.hexdigest()


def _read(file: BinaryIO, bounds: Bounds, into: Path | None) -> Summary:
    kinds: dict[str, bytes] = {}
    tops: dict[str, bool] = {}
    packed = file.seek(0, os.SEEK_END)
    file.seek(0)
    count = size = 0
    try:
        with tarfile.open(fileobj=file, mode="r:*", tarinfo=_Member, errorlevel=1) as tar:
            for info in tar:
                info.name = posixpath.normpath(info.name) if info.name else ""
                if info.name == "." and info.isdir():
                    continue
                _check_member(info, kinds)
                kinds[info.name] = info.type
                for end in _slashes(info.name):
                    kinds.setdefault(info.name[:end], tarfile.DIRTYPE)
                count, size = count + 1, size + info.size
                _check_bounds(count, size, bounds)
                if size > max(_RATIO_FROM_BYTES, packed * _MAX_RATIO):
                    raise InvalidProject(
                        f"the tarball unpacks to over {_MAX_RATIO} times its size: not unpacked"
                    )
                top, slash, _ = info.name.partition("/")
                tops[top] = tops.get(top, False) or bool(slash) or info.isdir()
                if into is not None:
                    tar.extract(info, into, filter="data")
    except _UNREADABLE as error:
        why = " ".join(str(error).split())
        raise InvalidProject(
            f"the tarball cannot be read ({why}): give a .tar, .tar.gz, .tar.bz2 or .tar.xz"
        ) from None
    if not count:
        raise InvalidProject("the tarball is empty: pack the project's files into it")
    only = next(iter(tops)) if len(tops) == 1 else ""
    return Summary(count, size, only if only and tops[only] else "")


def _slashes(name: str) -> list[int]:
    return [at for at, letter in enumerate(name) if letter == "/"]


def _check_member(info: tarfile.TarInfo, kinds: dict[str, bytes]) -> None:
    name = info.name
    shown = name if len(name) <= 80 else f"{name[:77]}..."
    parts = name.split("/")
    if name.startswith("/") or parts[0] == ".." or "\0" in name or name in ("", "."):
        raise InvalidProject(f"tarball entry {shown!r} lies outside the project: refused")
    if info.size < 0:
        raise InvalidProject(f"tarball entry {shown!r} has {info.size} bytes: refused")
    if len(name) > 1024 or any(len(os.fsencode(part)) > 255 for part in parts):
        raise InvalidProject(f"tarball entry {shown!r}: the name is too long")
    if name in kinds and not (info.isdir() and kinds[name] == tarfile.DIRTYPE):
        raise InvalidProject(f"tarball entry {shown!r} is there twice: refused")
    for end in _slashes(name):
        if kinds.get(name[:end], tarfile.DIRTYPE) != tarfile.DIRTYPE:
            raise InvalidProject(f"tarball entry {shown!r} lies below a file or link: refused")
    if info.issym():
        _check_link(info)
    elif info.islnk():
        target = kinds.get(posixpath.normpath(info.linkname))
        if target not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise InvalidProject(f"tarball entry {shown!r}: hard link to what is no file before it")
    elif not (info.isreg() or info.isdir()):
        raise InvalidProject(f"tarball entry {shown!r} is a device or pipe: refused")


def _check_link(info: tarfile.TarInfo) -> None:
    """Only leading ``..`` are known to lead where they say: another link may come before others."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(info.name), info.linkname))
    inner = dropwhile(lambda part: part in ("", ".", ".."), info.linkname.split("/"))
    if info.linkname.startswith("/") or target.split("/")[0] == ".." or ".." in inner:
        raise InvalidProject(
            f"{info.name!r} links out of the project, to {info.linkname!r}: "
            "remove the link or put the file itself there"
        )


def _check_bounds(files: int, size: int, bounds: Bounds) -> None:
    if files > bounds.files:
        raise InvalidProject(
            f"the project has over {bounds.files} files: leave some out by .dockerignore, "
            "or raise REVALID_PROJECT_FILES"
        )
    if size > bounds.bytes:
        raise InvalidProject(
            f"the project has over {bounds.bytes} bytes: leave some out by .dockerignore, "
            "or raise REVALID_PROJECT_BYTES"
        )


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    try:
        with path.open("rb") as file:
            tar.addfile(info, file)
    except OSError as error:
        raise InvalidProject(
            f"{path}: {error.strerror or error}; make it readable, or leave it out by .dockerignore"
        ) from None
