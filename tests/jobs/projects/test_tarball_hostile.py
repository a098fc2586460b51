"""Hostile tarballs: each is refused, and nothing is written outside."""

import gzip
import lzma
import os
import tarfile
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects import tarball
from revalid.jobs.projects.tarball import Bounds, check, unpack
from tests.growth import outgrows
from tests.jobs.tarballs import (
    BOUNDS,
    END,
    FILE,
    directory,
    entry,
    hard_link,
    header,
    link,
    refusal,
    sparse,
    zstd,
)

REFUSED: dict[str, tuple[bytes, str]] = {
    "traversal": (entry("../escaped"), "'../escaped' lies outside the project"),
    "inner traversal": (entry("a/../../escaped"), "'../escaped' lies outside the project"),
    "traversal by a directory": (directory("../escaped"), "lies outside the project"),
    "absolute": (entry("/escaped"), "'/escaped' lies outside the project"),
    "absolute twice over": (entry("//escaped"), "lies outside the project"),
    "no name": (entry(""), "lies outside the project"),
    "the root as a file": (entry("."), "'.' lies outside the project"),
    "NUL": (entry("a", pax_headers={"path": "a\0b"}), "lies outside the project"),
    "file over directory": (directory("a") + FILE, "'a' is a directory and something else"),
    "directory over file": (FILE + directory("a"), "'a' is a directory and something else"),
    "link over a directory that is implied": (
        entry("a/b") + link("a", "c"),
        "'a' is a directory and something else",
    ),
    "file below a link that replaced a file": (
        FILE + link("a", "..") + entry("a/escaped"),
        "'a' links out of the project",
    ),
    "hard link to what a link replaced": (
        FILE + link("a", "b") + hard_link("c", "a"),
        "'c': hard link to no earlier file",
    ),
    "character device": (entry("tty", type=tarfile.CHRTYPE), "'tty' is a device or pipe"),
    "block device": (entry("sda", type=tarfile.BLKTYPE), "'sda' is a device or pipe"),
    "fifo": (entry("pipe", type=tarfile.FIFOTYPE), "'pipe' is a device or pipe"),
    "unknown type": (entry("odd", type=b"Z"), "'odd' is a device or pipe"),
    "absolute link": (link("a", "/etc/passwd"), "'a' links out of the project, to '/etc/passwd'"),
    "link out": (link("a/b", "../../escaped"), "'a/b' links out of the project"),
    "link to the parent": (link("a", ".."), "'a' links out of the project"),
    "link out by way of a link": (
        link("x", "d/e/up/../escaped") + link("d/e/up", "../.."),
        "'x' links out of the project",
    ),
    "a name of two lines": (link("a\nb", "/"), r"'a\nb' links out of the project"),
    "hard link out": (hard_link("a", "../escaped"), "'a': hard link to no earlier file"),
    "absolute hard link": (hard_link("a", "/etc/passwd"), "'a': hard link to no earlier file"),
    "hard link ahead": (hard_link("b", "a") + FILE, "'b': hard link to no earlier file"),
    "hard link to a link": (
        link("b", "a") + hard_link("c", "b"),
        "'c': hard link to no earlier file",
    ),
    "file below a link": (link("a", "b") + entry("a/escaped"), "'a/escaped' lies below a file or"),
    "file below a file": (FILE + entry("a/b/c"), "'a/b/c' lies below a file or link"),
    "long part": (entry("a/" + "ü" * 128), "the name is too long"),
    "long name": (entry("/".join(["abc"] * 257)), "the name is too long"),
    "negative size": (FILE + header(tarfile.REGTYPE, -1024), "cannot be read (a header of -1024"),
    "negative size elsewhere": (
        entry("a", pax_headers={"size": "-1024"}),
        "cannot be read (a size of -1024 bytes)",
    ),
    "sparse": (FILE + header(tarfile.GNUTYPE_SPARSE, 0), "cannot be read (a sparse file)"),
    "another sparse": (sparse(major="1", minor="0", name="a", realsize="1"), "a sparse file"),
    "link to nothing": (link("a", ""), "'a' has an invalid link target"),
    "link to a NUL": (
        entry("a", type=tarfile.SYMTYPE, pax_headers={"linkpath": "b\0c"}),
        "an invalid link target",
    ),
    "link to a long name": (link("a", "b" * 5_000), "'a' has an invalid link target"),
    "too deep": (entry("/".join("a" * 101)), "lies over 100 levels deep"),
    "a longer header than any tool writes": (
        header(tarfile.GNUTYPE_LONGNAME, 70_000) + bytes(70_144) + FILE,
        "cannot be read (a header of 70000 bytes)",
    ),
    "extended header without its length": (
        header(tarfile.XHDTYPE, 512) + b"path=a\n".ljust(512, b"\0") + FILE,
        "cannot be read (a malformed extended header)",
    ),
    "extended header with a length in letters": (
        header(tarfile.XHDTYPE, 512) + b"ab path=a\n".ljust(512, b"\0") + FILE,
        "cannot be read (a malformed extended header)",
    ),
    "extended header that says too long a length": (
        header(tarfile.XHDTYPE, 512) + b"99999 path=a\n".ljust(512, b"\0") + FILE,
        "cannot be read (a malformed extended header)",
    ),
    "headers without end": (
        (header(tarfile.GNUTYPE_LONGNAME, 512) + b"a" * 512) * 2_000 + FILE,
        "cannot be read (over 8 extended headers in a row)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_hostile_entry_is_refused(kind: str, into: Path) -> None:
    data, words = REFUSED[kind]
    assert words in refusal(directory("safe") + data + END, into)
    assert [path.name for path in into.parent.iterdir()] == ["into"]
    assert not any(path.name == "escaped" for path in into.rglob("*"))
    assert not Path("/escaped").exists()


def deep(number: int) -> bytes:
    """Empty files, each at the end of a path of its own that nothing else names."""
    names = ("/".join([f"{n:x}", *"a" * 99]) for n in range(number))
    return gzip.compress(b"".join(entry(name) for name in names) + END, 9)


def test_directories_that_only_paths_name_are_counted(into: Path) -> None:
    data = b"".join(entry(f"{n}/a/b") for n in range(5)) + END
    assert check(BytesIO(data), Bounds(files=15, bytes=1)).files == 5
    assert "has more than 14 files: " in refusal(data, into, Bounds(files=14, bytes=1))
    data = directory("a") + directory("a/b") + entry("a/b/c") + entry("a/b/d") + END
    assert check(BytesIO(data), Bounds(files=4, bytes=1)).files == 4


def test_memory_is_linear_in_what_the_bound_allows() -> None:
    """As many paths as there may be cost what the bound on their number allows, however long."""
    peaks = []
    for files in (2_000, 4_000, 8_000):
        data = deep(400)
        tracemalloc.start()
        with pytest.raises(InvalidProject, match=f"more than {files} files"):
            check(BytesIO(data), Bounds(files=files, bytes=2**30))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert all(after < 3 * before for before, after in pairwise(peaks))
    assert peaks[-1] < 8_000 * 600


def test_a_header_for_all_members_is_not_kept_for_each() -> None:
    records = b"".join(b"%07d k%05d=v\n" % (17, n) for n in range(3_000))
    every = header(tarfile.XGLTYPE, len(records)) + records + bytes(-len(records) % 512)
    peaks = []
    for number in (500, 1_000, 2_000):
        data = every + b"".join(entry(str(n)) for n in range(number)) + END
        tracemalloc.start()
        check(BytesIO(data), Bounds(files=number, bytes=1))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[-1] < len(records) * 10


@pytest.mark.parametrize(
    "piece",
    [b"1", b"1 ", b"a", b"=", b"5 a=\n", b"6 a=b\n", b"9 a", b"\0", b"11 hdrcharset"],
)
def test_an_extended_header_takes_time_linear_in_its_size(piece: bytes) -> None:
    def read(size: int) -> Callable[[], object]:
        text = piece * (size // len(piece))
        one = header(tarfile.XHDTYPE, len(text)) + text + bytes(-len(text) % 512)
        data = one + FILE + END

        def run() -> None:
            with suppress(InvalidProject):
                check(BytesIO(data), BOUNDS)

        return run

    assert not outgrows(read, 1_024, 65_536)


def test_extended_headers_are_bounded_together() -> None:
    long = header(tarfile.XHDTYPE, 60_000) + b"60000 a=".ljust(59_999, b"b") + b"\n"
    long += bytes(-60_000 % 512)
    data = gzip.compress(b"".join(long + entry(str(n)) for n in range(20)) + END)
    with pytest.raises(InvalidProject, match="a header of 60000 bytes"):
        check(BytesIO(data), Bounds(files=100, bytes=2**30))


def test_members_of_gzip_that_hold_nothing_are_passed_over() -> None:
    empty = gzip.compress(b"")
    data = empty * 20_000 + gzip.compress(FILE + END) + empty * 20_000
    assert check(BytesIO(data), BOUNDS).files == 1


def test_headers_count_as_what_the_tarball_unpacks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "_RATIO_FROM_BYTES", 100_000)
    data = gzip.compress(b"".join(directory("a") for n in range(2_000)) + END, 9)
    with pytest.raises(InvalidProject, match="more than 200 times its size"):
        check(BytesIO(data), BOUNDS)


def test_a_time_that_no_file_can_have_is_refused(into: Path) -> None:
    data = entry("a", pax_headers={"mtime": "1e300"}) + END
    with pytest.raises(InvalidProject, match="the archive cannot be read"):
        unpack(BytesIO(data), into, BOUNDS)


MIXED = [
    directory("d"),
    entry("d/a", b"text" * 200),
    link("d/b", "../c"),
    hard_link("d/c", "d/a"),
    entry("e" * 120, b"long", pax_headers={"mtime": "1.5"}),
]
STARTS = [sum(map(len, MIXED[:number])) for number in range(len(MIXED))]


def damaged(changes: list[tuple[int, int, int]]) -> bytes:
    """The mixed tarball with bytes of its headers changed, and their checksums right again."""
    data = bytearray(b"".join(MIXED) + END)
    for member, offset, byte in changes:
        block = memoryview(data)[STARTS[member] : STARTS[member] + 512]
        block[offset] = byte
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(data)


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(MIXED) - 1),
            st.integers(0, 344),
            st.one_of(st.sampled_from(b"./0123567xgLKS\0\x80\xff"), st.integers(0, 255)),
        ),
        max_size=4,
    )
)
@settings(max_examples=100, deadline=None, database=None)
def test_a_damaged_archive_is_only_refused(changes: list[tuple[int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as around:
        into = Path(around) / "into"
        into.mkdir()
        try:
            unpack(BytesIO(damaged(changes)), into, Bounds(files=10, bytes=10_000))
        except InvalidProject as error:
            assert len(str(error).splitlines()) == 1
        assert [path.name for path in Path(around).iterdir()] == ["into"]
        for path in into.rglob("*"):
            assert path.resolve().is_relative_to(into.resolve())


def with_dictionary(data: bytes, size: int) -> bytes:
    """Return an xz file that asks for a dictionary of ``size``, a step of the format."""
    packed = bytearray(lzma.compress(data))
    end = 12 + 4 * (packed[12] + 1)
    assert packed[13:16] == b"\0\x21\1", "its one filter is LZMA2"
    packed[16] = size
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    return bytes(packed)


def test_an_xz_file_that_asks_for_much_memory_is_refused(into: Path) -> None:
    sixty_four_mib, four_gib = 28, 40
    assert check(BytesIO(with_dictionary(FILE + END, sixty_four_mib)), BOUNDS).files == 1
    assert "Memory usage limit exceeded" in refusal(with_dictionary(FILE + END, four_gib), into)


def test_a_zstd_file_that_asks_for_much_memory_is_refused(into: Path) -> None:
    def packed(window_log: int) -> bytes:
        options: dict[int, int] = {
            zstd.CompressionParameter.window_log: window_log,
            zstd.CompressionParameter.enable_long_distance_matching: 1,
        }
        compressor = zstd.ZstdCompressor(options=options)
        return compressor.compress(FILE + END, compressor.FLUSH_BLOCK) + compressor.flush()

    assert check(BytesIO(packed(27)), BOUNDS).files == 1
    assert "requires too much memory" in refusal(packed(30), into)


def test_an_xz_file_may_have_many_streams(into: Path) -> None:
    data = b"".join(entry(str(n), os.urandom(30_000)) for n in range(10)) + END
    parts = [data[at : at + 10_007] for at in range(0, len(data), 10_007)]
    packed = b"".join(lzma.compress(part) + bytes(4 * (len(part) % 2)) for part in parts)
    assert check(BytesIO(packed), BOUNDS).files == 10
