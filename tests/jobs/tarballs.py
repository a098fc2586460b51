"""Makes tarballs member by member, including some that no tool makes."""

import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.tarball import Bounds, Summary, check, unpack

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

BOUNDS = Bounds(files=100, bytes=2**30)
END = bytes(1024)


def entry(name: str, data: bytes = b"", **fields: Any) -> bytes:
    """One member, headers and all; ``fields`` are of :class:`tarfile.TarInfo`."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


def directory(name: str) -> bytes:
    return entry(name, type=tarfile.DIRTYPE, mode=0o755)


def link(name: str, target: str) -> bytes:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> bytes:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def header(kind: bytes, size: int) -> bytes:
    """A header that promises ``size`` bytes."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse(**headers: str) -> bytes:
    names = {f"GNU.sparse.{name}": value for name, value in headers.items()}
    return entry("a", b"1\n0\n1\n" + bytes(506) + b"a", pax_headers=names)


FILE = entry("a", b"text")


def refusal(data: bytes, into: Path, bounds: Bounds = BOUNDS) -> str:
    """The one line in which both :func:`check` and :func:`unpack` refuse a tarball."""
    messages = []
    reads: list[Callable[[], Summary]] = [
        lambda: check(BytesIO(data), bounds),
        lambda: unpack(BytesIO(data), into, bounds),
    ]
    for read in reads:
        with pytest.raises(InvalidProject) as caught:
            read()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].encode().decode().splitlines() == messages[:1]
    return messages[0]
