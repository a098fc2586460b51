"""Reads hostile zip archives, with bounds on their entries and on what they unpack to."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from revalid.jobs.projects.tar_reader import TooMuch

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ENTRY = b"PK\x01\x02"
_CHUNK = 1 << 16
_DOS, _UNIX, _MACOS = 0, 3, 19
_UTF_8 = 0x800
_BROKEN = (zipfile.BadZipFile, EOFError, zlib.error, OSError, ValueError, NotImplementedError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that unpack within the memory that they are asked to."""
_TARGET_BYTES = 1 << 16


class ZipReader:
    """An iterator of the members of a zip archive, as :class:`.tar_reader.Reader` is.

    Args:
        most: Most bytes that all members unpack to.
        members: Expected members; twice as many are read.

    Raises:
        tarfile.TarError: From every method: the archive is damaged or encrypted.
        TooMuch: From every method.
    """

    def __init__(self, file: BinaryIO, most: int, members: int) -> None:
        if _count(file, _ENTRY) > 2 * members + 1_000:  # zipfile keeps them all
            raise TooMuch
        try:
            self._zip = zipfile.ZipFile(file)
        except _BROKEN as error:
            raise tarfile.ReadError(str(error)) from None
        self._left = most
        self._member: zipfile.ZipInfo | None = None

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """Yield the members; the content of each can be read until the next one."""
        for member in self._zip.infolist():
            if member.flag_bits & 1:
                raise tarfile.ReadError("an encrypted file")
            if member.compress_type not in _METHODS:
                raise tarfile.ReadError(f"compression method {member.compress_type}")
            self._member = member
            yield self._info(member)
            self._left -= member.file_size

    def check_room(self) -> None:
        """Raise :class:`TooMuch` if the content of the last member exceeds the bound."""
        if self._member is not None and self._member.file_size > self._left:
            raise TooMuch

    def data(self) -> Iterator[bytes]:
        """Yield the last member's content, in chunks."""
        if self._member is None:
            return
        try:
            with self._zip.open(self._member) as content:
                while chunk := content.read(_CHUNK):
                    yield chunk
        except _BROKEN as error:
            raise tarfile.ReadError(str(error)) from None

    def _info(self, member: zipfile.ZipInfo) -> tarfile.TarInfo:
        info = tarfile.TarInfo(_name(member))
        mode = member.external_attr >> 16 if member.create_system in (_UNIX, _MACOS) else 0
        info.mode = stat.S_IMODE(mode) or 0o644
        info.size = member.file_size
        if member.is_dir() or info.name.endswith("/"):
            info.type, info.size = tarfile.DIRTYPE, 0
        elif stat.S_ISLNK(mode):
            if member.file_size > _TARGET_BYTES:
                raise tarfile.ReadError("a link with a long target")
            target = b"".join(self.data())
            info.type, info.size = tarfile.SYMTYPE, 0
            info.linkname = target.decode("utf-8", "surrogateescape")
        return info


def _name(member: zipfile.ZipInfo) -> str:
    """Return a member's path. Many tools write UTF-8 without saying so."""
    name = member.filename
    if not member.flag_bits & _UTF_8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/") if member.create_system == _DOS else name


def _count(file: BinaryIO, signature: bytes) -> int:
    """Return how often a signature occurs in a file."""
    count, rest = 0, b""
    file.seek(0)
    while chunk := file.read(1 << 20):
        data = rest + chunk
        count += data.count(signature)
        rest = data[-(len(signature) - 1) :]
    file.seek(0)
    return count
