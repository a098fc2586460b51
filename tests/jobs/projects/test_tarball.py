"""Reading tarballs, also ones that are too large or truncated, and other files."""

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from revalid.jobs.projects import tarball
from revalid.jobs.projects.tarball import Bounds, Summary, check, unpack
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
    zstd,
)


def test_too_many_files_are_refused(into: Path) -> None:
    data = b"".join(entry(str(number)) for number in range(3)) + END
    assert check(BytesIO(data), Bounds(files=3, bytes=1)).files == 3
    assert "has more than 2 files: " in refusal(data, into, Bounds(files=2, bytes=1))


def test_too_many_bytes_are_refused_before_they_are_written(into: Path) -> None:
    data = entry("a", b"12") + entry("b", b"345") + END
    assert check(BytesIO(data), Bounds(files=2, bytes=5)).size_bytes == 5
    assert "has more than 4 bytes: " in refusal(data, into, Bounds(files=2, bytes=4))
    assert [path.name for path in into.iterdir()] == ["a"]


def test_a_bomb_is_refused_before_it_is_written(into: Path) -> None:
    size = 65 * 2**20
    data = gzip.compress(header(tarfile.REGTYPE, size) + bytes(size) + END, 1)
    assert "unpacks to more than 200 times its size: refused" in refusal(data, into)
    assert list(into.iterdir()) == []


def test_a_barely_compressed_tarball_is_not_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_a_tarball_that_was_cut_off_is_refused(pack: Callable[[bytes], bytes], into: Path) -> None:
    whole = pack(b"".join(entry(str(number), os.urandom(2_000)) for number in range(20)) + END)
    for part in (whole[: len(whole) // 2], whole[:-600], whole[:20]):
        assert "the archive cannot be read (" in refusal(part, into)
        for path in into.iterdir():
            path.unlink()


def test_a_plain_tarball_that_was_cut_off_is_refused(into: Path) -> None:
    assert "the archive cannot be read (" in refusal(entry("a", bytes(2_000))[:1_000], into)


@pytest.mark.parametrize(
    "data",
    [
        b"PK\3\4" + bytes(100),
        b"\x28\xb5\x2f\xfd" + bytes(100),
        b"<html>" * 200,
        b"\x1f\x8b" + bytes(600),
        bytes(100),
        b"\n",
    ],
)
def test_a_file_that_is_not_a_tarball_is_refused(data: bytes, into: Path) -> None:
    assert refusal(data, into).endswith(".tar.xz, .tar.zst or .zip")


@pytest.mark.parametrize("data", [END, bytes(10_240), directory(".") + END])
def test_an_empty_tarball_is_refused(data: bytes, into: Path) -> None:
    assert "the archive is empty" in refusal(data, into)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd.compress])
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


def test_links_that_stay_inside_are_kept(into: Path) -> None:
    targets = {"a": "d/x", "d/b": "../a", "d/e/c": "../../d/x", "d/f": "."}
    data = entry("d/x", b"text") + b"".join(link(*pair) for pair in targets.items()) + END
    unpack(BytesIO(data), into, BOUNDS)
    assert {name: str((into / name).readlink()) for name in targets} == targets
    assert (into / "d" / "e" / "c").read_text() == "text"
