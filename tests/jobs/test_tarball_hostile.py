"""Tarballs that mean harm: each is refused, and nothing leaves its place."""

import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from jobs.errors import InvalidProject
from jobs.tarball import Bounds, unpack
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
