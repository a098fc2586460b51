"""Reading tarballs that nobody vouches for: what is refused, and that nothing leaves its place."""

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from jobs import tarball
from jobs.errors import InvalidProject
from jobs.tarball import Bounds, Summary, check, unpack

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
REFUSED: dict[str, tuple[bytes, str]] = {
    "traversal": (entry("../escaped"), "'../escaped' lies outside the project"),
    "inner traversal": (entry("a/../../escaped"), "'../escaped' lies outside the project"),
    "traversal by a directory": (directory("../escaped"), "lies outside the project"),
    "absolute": (entry("/escaped"), "'/escaped' lies outside the project"),
    "absolute twice over": (entry("//escaped"), "lies outside the project"),
    "no name": (entry(""), "lies outside the project"),
    "the root as a file": (entry("."), "'.' lies outside the project"),
    "NUL": (entry("a", pax_headers={"path": "a\0b"}), "lies outside the project"),
    "duplicate": (FILE + FILE, "'a' is there twice"),
    "duplicate by another spelling": (FILE + entry("./b/../a"), "'a' is there twice"),
    "link over file": (FILE + link("a", "b"), "'a' is there twice"),
    "file over directory": (directory("a") + FILE, "'a' is there twice"),
    "directory over file": (FILE + directory("a"), "'a' is there twice"),
    "link over a directory that is implied": (entry("a/b") + link("a", "c"), "'a' is there twice"),
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
    "hard link out": (hard_link("a", "../escaped"), "'a': hard link to what is no file before it"),
    "absolute hard link": (hard_link("a", "/etc/passwd"), "'a': hard link to what is no file"),
    "hard link ahead": (hard_link("b", "a") + FILE, "'b': hard link to what is no file"),
    "hard link to a link": (link("b", "a") + hard_link("c", "b"), "'c': hard link to what is no f"),
    "file below a link": (link("a", "b") + entry("a/escaped"), "'a/escaped' lies below a file or"),
    "file below a file": (FILE + entry("a/b/c"), "'a/b/c' lies below a file or link"),
    "long part": (entry("a/" + "ü" * 128), "the name is too long"),
    "long name": (entry("/".join(["abc"] * 257)), "the name is too long"),
    "negative size": (FILE + header(tarfile.REGTYPE, -1024), "cannot be read (a header of -1024"),
    "negative size elsewhere": (
        entry("a", pax_headers={"size": "-1024"}),
        "'a' has -1024 bytes",
    ),
    "sparse": (FILE + header(tarfile.GNUTYPE_SPARSE, 0), "cannot be read (a sparse file)"),
    "another sparse": (sparse(major="1", minor="0", name="a", realsize="1"), "a sparse file"),
    "headers without end": (
        (header(tarfile.GNUTYPE_LONGNAME, 512) + b"a" * 512) * 2_000 + FILE,
        "cannot be read (maximum recursion depth exceeded",
    ),
}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """An empty directory, alone in another."""
    made = tmp_path / "around" / "into"
    made.mkdir(parents=True)
    return made


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


@pytest.mark.parametrize("kind", REFUSED)
def test_a_hostile_entry_is_refused(kind: str, into: Path) -> None:
    data, words = REFUSED[kind]
    assert words in refusal(directory("safe") + data + END, into)
    assert [path.name for path in into.parent.iterdir()] == ["into"]
    assert not any(path.name == "escaped" for path in into.rglob("*"))
    assert not Path("/escaped").exists()


def test_a_time_that_no_file_can_have_is_refused(into: Path) -> None:
    data = entry("a", pax_headers={"mtime": "1e300"}) + END
    with pytest.raises(InvalidProject, match="the tarball cannot be read"):
        unpack(BytesIO(data), into, BOUNDS)


def test_too_many_files_are_refused(into: Path) -> None:
    data = b"".join(entry(str(number)) for number in range(3)) + END
    assert check(BytesIO(data), Bounds(files=3, bytes=1)).files == 3
    assert "has over 2 files: " in refusal(data, into, Bounds(files=2, bytes=1))


def test_too_many_bytes_are_refused_before_they_are_written(into: Path) -> None:
    data = entry("a", b"12") + entry("b", b"345") + END
    assert check(BytesIO(data), Bounds(files=2, bytes=5)).size_bytes == 5
    assert "has over 4 bytes: " in refusal(data, into, Bounds(files=2, bytes=4))
    assert [path.name for path in into.iterdir()] == ["a"]


def test_a_bomb_is_refused_before_it_is_written(into: Path) -> None:
    size = 65 * 2**20
    data = gzip.compress(header(tarfile.REGTYPE, size) + bytes(size) + END, 1)
    assert "unpacks to over 200 times its size: not unpacked" in refusal(data, into)
    assert list(into.iterdir()) == []


def test_what_was_hardly_compressed_is_no_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "_RATIO_FROM_BYTES", 0)
    data = gzip.compress(entry("a", bytes(range(256)) * 8) + END)
    assert check(BytesIO(data), BOUNDS).size_bytes == 2_048


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_bomb_in_a_header_takes_no_memory(kind: bytes, into: Path) -> None:
    size = 32 * 2**20
    data = gzip.compress(header(kind, size) + bytes(size) + FILE + END, 1)
    tracemalloc.start()
    try:
        assert f"a header of {size} bytes" in refusal(data, into)
        assert tracemalloc.get_traced_memory()[1] < size / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_tarball_that_was_cut_off_is_refused(pack: Callable[[bytes], bytes], into: Path) -> None:
    whole = pack(b"".join(entry(str(number), os.urandom(2_000)) for number in range(20)) + END)
    for part in (whole[: len(whole) // 2], whole[:-600], whole[:20]):
        assert "the tarball cannot be read (" in refusal(part, into)
        for path in into.iterdir():
            path.unlink()


def test_a_plain_tarball_that_was_cut_off_is_refused(into: Path) -> None:
    assert "the tarball cannot be read (" in refusal(entry("a", bytes(2_000))[:1_000], into)


@pytest.mark.parametrize(
    "data", [b"PK\3\4" + bytes(100), b"<html>" * 200, b"\x1f\x8b" + bytes(600), bytes(100), b"\n"]
)
def test_what_is_no_tarball_is_refused(data: bytes, into: Path) -> None:
    assert refusal(data, into).endswith(": give a .tar, .tar.gz, .tar.bz2 or .tar.xz")


@pytest.mark.parametrize("data", [END, bytes(10_240), directory(".") + END])
def test_an_empty_tarball_is_refused(data: bytes, into: Path) -> None:
    assert "the tarball is empty" in refusal(data, into)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tarball_is_unpacked_whatever_compressed_it(
    pack: Callable[[bytes], bytes], into: Path
) -> None:
    members = [directory("./d"), directory("d"), entry("d/a", b"text", mode=0o644)]
    members += [entry("d/run", b"", mode=0o4777), link("b", "d/a"), hard_link("d/c", "d/a")]
    file = BytesIO(pack(b"".join(members) + END))
    summary = Summary(files=6, size_bytes=4)
    assert check(file, BOUNDS) == unpack(file, into, BOUNDS) == summary
    assert (into / "b").readlink() == Path("d/a")
    assert (into / "b").read_text() == (into / "d" / "c").read_text() == "text"
    assert stat.S_IMODE((into / "d" / "a").stat().st_mode) == 0o644
    assert stat.S_IMODE((into / "d" / "run").stat().st_mode) == 0o755
    assert (into / "d" / "a").stat().st_uid == os.geteuid()


def test_a_name_may_be_long(into: Path) -> None:
    name = "/".join(["a" * 254, *["b" * 255] * 3, "c"])
    assert len(name) == 1024
    unpack(BytesIO(entry(name) + END), into, BOUNDS)
    assert (into / name).is_file()


@pytest.mark.parametrize(
    ("members", "top"),
    [
        ([entry("app/a"), entry("app/b/c")], "app"),
        ([directory("app"), entry("app/a")], "app"),
        ([directory("."), entry("./app/a")], "app"),
        ([directory("app")], "app"),
        ([entry("app/a"), entry("b")], ""),
        ([entry("app/a"), directory("other")], ""),
        ([entry("a")], ""),
        ([link("a", "b")], ""),
    ],
)
def test_the_one_top_directory_is_named(members: list[bytes], top: str) -> None:
    assert check(BytesIO(b"".join(members) + END), BOUNDS).top == top


def test_links_that_stay_inside_are_kept(into: Path) -> None:
    targets = {"a": "d/x", "d/b": "../a", "d/e/c": "../../d/x", "d/f": "."}
    data = entry("d/x", b"text") + b"".join(link(*pair) for pair in targets.items()) + END
    unpack(BytesIO(data), into, BOUNDS)
    assert {name: str((into / name).readlink()) for name in targets} == targets
    assert (into / "d" / "e" / "c").read_text() == "text"


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
def test_no_damage_does_more_than_have_it_refused(changes: list[tuple[int, int, int]]) -> None:
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
