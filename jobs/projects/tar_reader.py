"""Reads hostile tar archives header by header, with bounds on each header and on their sum.

``tarfile`` is unsuitable: it keeps every header, follows chains of headers by recursion, and takes
quadratic time for extended headers.
"""

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, BinaryIO

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK = 512
_HEADER_BYTES = 1 << 16
_IN_A_ROW = 8
"""Most extended headers before a member; GNU tar writes at most three."""
_PER_MEMBER = 4_096
_LATEST = 2**40
_CHUNK = 1 << 16
_XZ = b"\xfd7zXZ\0"
_XZ_MEMORY = 128 * 2**20
"""Bytes of memory to read an xz file; what `xz -9` writes takes 65 MiB."""
_ZSTD_WINDOW_LOG = 27
"""Window of a zstd file, as a power of two; `zstd --ultra -22` writes 27."""


class _XzReader(io.RawIOBase):
    """Reads a file of xz streams; :mod:`lzma` alone takes as much memory as the file asks for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start()

    def _start(self) -> None:
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        while True:
            packed = b""
            if self._decompressor.eof:  # another stream may follow
                rest = self._decompressor.unused_data + self._file.read(_CHUNK)
                packed = rest.lstrip(b"\0")
                if not packed.startswith(_XZ):
                    return 0
                self._start()
            elif self._decompressor.needs_input and not (packed := self._file.read(_CHUNK)):
                raise EOFError("unexpected end of data")
            data = self._decompressor.decompress(packed, len(view))
            if data:
                view[: len(data)] = data
                return len(data)


def _open_xz(file: BinaryIO) -> IO[bytes]:
    return io.BufferedReader(_XzReader(file), _CHUNK)


def _open_zstd(file: BinaryIO) -> IO[bytes]:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return io.BufferedReader(zstd.ZstdFile(file, options=options), _CHUNK)


_MAGIC: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZ": bz2.open,
    _XZ[:2]: _open_xz,
    b"\x28\xb5": _open_zstd,
}
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, ValueError)


class TooMuch(Exception):
    """The archive is larger than allowed."""


class Reader:
    """An iterator of the members of an archive, which may be compressed.

    Args:
        most: Most bytes of the unpacked archive, headers included.
        members: Expected members, for the bound of headers; the caller must refuse more.

    Raises:
        tarfile.TarError: From every method: the archive is damaged, or not a tar archive.
        TooMuch: From every method.
    """

    def __init__(self, file: BinaryIO, most: int, members: int) -> None:
        file.seek(0)
        opened = _MAGIC.get(file.read(2))
        file.seek(0)
        self._file: IO[bytes] = opened(file) if opened else file
        self._most = most
        self._extended_left = _HEADER_BYTES + members * _PER_MEMBER
        self._position = 0
        self._data = 0
        self._padding = 0

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """Yield the members; the content of each can be read until the next one.

        Only name, type, size, mode, time and link target of a member are valid.
        """
        while True:
            extended: dict[str, str] = {}
            for _ in range(_IN_A_ROW + 1):
                for _ in self.data():
                    pass
                if (info := self._header()) is None:
                    return
                match info.type:
                    case tarfile.GNUTYPE_LONGNAME:
                        extended["path"] = self._extension(info).partition(b"\0")[0].decode(*_TEXT)
                    case tarfile.GNUTYPE_LONGLINK:
                        target = self._extension(info).partition(b"\0")[0].decode(*_TEXT)
                        extended["linkpath"] = target
                    case tarfile.XHDTYPE | tarfile.SOLARIS_XHDTYPE:
                        extended |= _records(self._extension(info))
                    case tarfile.XGLTYPE:  # git writes a comment there
                        self._extension(info)
                    case tarfile.GNUTYPE_SPARSE:
                        raise tarfile.ReadError("a sparse file")
                    case _:
                        break
            else:
                raise tarfile.ReadError(f"over {_IN_A_ROW} extended headers in a row")
            _apply(info, extended)
            if info.size < 0:
                raise tarfile.ReadError(f"a size of {info.size} bytes")
            self._expect(info.size)
            yield info

    def check_room(self) -> None:
        """Raise :class:`TooMuch` if the content of the last member exceeds the bound."""
        if self._position + self._data > self._most:
            raise TooMuch

    def data(self) -> Iterator[bytes]:
        """Yield the rest of the last member's content, in chunks."""
        while self._data:
            chunk = self._read(min(_CHUNK, self._data))
            self._data -= len(chunk)
            yield chunk
        padding, self._padding = self._padding, 0
        self._read(padding)

    def _header(self) -> tarfile.TarInfo | None:
        try:
            block = self._file.read(_BLOCK)
        except _BROKEN as error:
            raise tarfile.ReadError(str(error)) from None
        if block == bytes(_BLOCK) or (not block and self._position):
            return None
        self._count(len(block))
        info = tarfile.TarInfo.frombuf(block, *_TEXT)
        if info.type not in tarfile.REGULAR_TYPES and info.type in tarfile.SUPPORTED_TYPES:
            if info.type not in _EXTENDED:
                info.size = 0  # no content follows, whatever the header says
        elif info.size < 0:
            raise tarfile.ReadError(f"a header of {info.size} bytes")
        return info

    def _extension(self, info: tarfile.TarInfo) -> bytes:
        self._extended_left -= _BLOCK + info.size
        if not 0 <= info.size <= _HEADER_BYTES or self._extended_left < 0:
            raise tarfile.ReadError(f"a header of {info.size} bytes")
        self._expect(info.size)
        return b"".join(self.data())

    def _expect(self, size: int) -> None:
        self._data, self._padding = size, -size % _BLOCK

    def _read(self, size: int) -> bytes:
        self._count(size)
        try:
            data = self._file.read(size)
        except _BROKEN as error:
            raise tarfile.ReadError(str(error)) from None
        if len(data) < size:
            raise tarfile.ReadError("unexpected end of data")
        return data

    def _count(self, size: int) -> None:
        self._position += size
        if self._position > self._most:
            raise TooMuch


_TEXT = ("utf-8", "surrogateescape")
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
)


def _records(data: bytes) -> dict[str, str]:
    """Parse the records of an extended header; each is: length, space, name, ``=``, value."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at]:
        space = max(at, data.find(b" ", at, at + 8))
        length = int(data[at:space]) if data[at:space].isdigit() else 0
        end = at + length
        name, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or end > len(data) or data[end - 1 : end] != b"\n":
            raise tarfile.ReadError("a malformed extended header")
        if name.startswith(b"GNU.sparse."):
            raise tarfile.ReadError("a sparse file")
        records[name.decode(*_TEXT)] = value.decode(*_TEXT)
        at = end
    return records


def _apply(info: tarfile.TarInfo, extended: dict[str, str]) -> None:
    try:
        info.name = extended.get("path", info.name)
        info.linkname = extended.get("linkpath", info.linkname)
        if info.isreg():
            info.size = int(extended.get("size", info.size))
        info.mtime = float(extended.get("mtime", info.mtime))
    except ValueError as error:
        raise tarfile.ReadError(str(error)) from None
    if not -_LATEST < info.mtime < _LATEST:
        raise tarfile.ReadError("an impossible modification time")
    if info.type == tarfile.AREGTYPE and info.name.endswith("/"):
        info.type = tarfile.DIRTYPE
        info.size = 0
