"""Reading zip archives, also hostile and damaged ones."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.tarball import Bounds, check, unpack
from tests.jobs.tarballs import BOUNDS, refusal

Change = Callable[[zipfile.ZipInfo], None]


def archive(
    *names: str, content: bytes = b"text", change: Change = lambda info: None, method: int = 8
) -> bytes:
    """A zip archive of files of one content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = 0o100644 << 16
            change(info)
            packed.writestr(info, content)
    return out.getvalue()


def as_link(info: zipfile.ZipInfo) -> None:
    info.external_attr = 0o120777 << 16


def a_as_link(info: zipfile.ZipInfo) -> None:
    if info.filename == "a":
        as_link(info)


def encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\1\2")
    return data[: at + 8] + b"\1\0" + data[at + 10 :]


REFUSED = {
    "traversal": (archive("../escaped"), "lies outside the project"),
    "absolute": (archive("/escaped"), "lies outside the project"),
    "link out": (archive("a", content=b"/etc", change=as_link), "links out of the project"),
    "file below a file": (archive("a", "a/b"), "lies below a file or link"),
    "file below a link": (
        archive("a", "a/b", content=b"b", change=a_as_link),
        "lies below a file or link",
    ),
    "encrypted": (encrypted(archive("a")), "cannot be read (an encrypted file)"),
    "another method": (archive("a", method=zipfile.ZIP_LZMA), "(compression method 14)"),
    "empty": (archive(), "the archive is empty"),
    "cut off": (archive("a")[:-30], "the archive cannot be read ("),
    "a long target": (archive("a", content=bytes(70_000), change=as_link), "a long target"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_hostile_zip_is_refused(kind: str, into: Path) -> None:
    data, words = REFUSED[kind]
    assert words in refusal(data, into)


def test_a_zip_is_unpacked(into: Path) -> None:
    data = archive("d/", "d/a", "b", content=b"text" * 100)
    assert unpack(io.BytesIO(data), into, BOUNDS).files == 3
    assert (into / "d" / "a").read_bytes() == b"text" * 100


def test_a_wrong_checksum_is_refused(into: Path) -> None:
    data = archive("a", method=zipfile.ZIP_STORED).replace(b"text", b"tent")
    with pytest.raises(InvalidProject, match="Bad CRC-32"):
        unpack(io.BytesIO(data), into, BOUNDS)


def test_names_are_read_as_the_tools_write_them(into: Path) -> None:
    def of_macos(info: zipfile.ZipInfo) -> None:
        info.filename = "caf\N{LATIN SMALL LETTER E WITH ACUTE}.js"

    data = bytearray(archive("a", change=of_macos))
    for header, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flag that says UTF-8
        start = data.index(header)
        data[start + at : start + at + 2] = b"\0\0"
    unpack(io.BytesIO(bytes(data)), into, BOUNDS)
    assert [path.name for path in into.iterdir()] == ["caf\N{LATIN SMALL LETTER E WITH ACUTE}.js"]


def test_backslashes_of_windows_are_directories(into: Path) -> None:
    def of_windows(info: zipfile.ZipInfo) -> None:
        info.create_system = 0

    unpack(io.BytesIO(archive("src\\a.js", change=of_windows)), into, BOUNDS)
    assert (into / "src" / "a.js").is_file()


def test_a_bomb_is_refused_before_it_is_written(into: Path) -> None:
    data = archive("a", content=bytes(65 * 2**20))
    assert "unpacks to more than 200 times its size: refused" in refusal(data, into)
    assert list(into.iterdir()) == []


def test_entries_over_one_content_count_each_time(into: Path) -> None:
    data = archive("a", content=bytes(40 * 2**20))
    at, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    entries = data[at:end] + data[at:end].replace(b"a", b"b")
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(entries), at, 0)
    assert "unpacks to more than 200 times" in refusal(data[:at] + entries + tail, into)


def test_entries_are_counted_before_they_are_kept() -> None:
    data = archive(*map(str, range(2_000)), method=zipfile.ZIP_STORED)
    assert check(io.BytesIO(data), Bounds(files=2_000, bytes=2**20)).files == 2_000
    with pytest.raises(InvalidProject, match="the archive unpacks to more than"):
        check(io.BytesIO(data), Bounds(files=100, bytes=2**20))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_zip_is_only_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(archive("d/a", "b", content=b"some text " * 20))
    for at, value in changes:
        data[at % len(data)] = value
    try:
        check(io.BytesIO(bytes(data)), BOUNDS)
    except InvalidProject as error:
        assert len(str(error).splitlines()) == 1
