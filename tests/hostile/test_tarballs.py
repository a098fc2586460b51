"""Hostile tarballs, submitted without the producer's check: the worker rejects each."""

import bz2
import gzip
import lzma
import os
import tarfile

import pytest

from revalid.jobs.result import Verdict
from tests.hostile.conftest import BYTES, FILES, Site
from tests.jobs.tarballs import END, FILE, directory, entry, hard_link, header, link, sparse

TARBALLS: dict[str, tuple[bytes, str]] = {
    "traversal": (entry("../escaped"), "lies outside the project"),
    "traversal within": (entry("a/../../escaped"), "lies outside the project"),
    "absolute name": (entry("/escaped"), "lies outside the project"),
    "file over directory": (directory("a") + FILE, "is a directory and something else"),
    "huge name": (entry("/".join(["abc"] * 257)), "the name is too long"),
    "huge part of a name": (entry("a" * 256), "the name is too long"),
    "link out": (link("a", "../../escaped"), "links out of the project"),
    "absolute link": (link("a", "/etc/passwd"), "links out of the project"),
    "file below a link": (link("a", "b") + entry("a/c"), "lies below a file or link"),
    "hard link out": (hard_link("a", "../escaped"), "hard link to no earlier file"),
    "character device": (entry("a", type=tarfile.CHRTYPE), "is a device or pipe"),
    "block device": (entry("a", type=tarfile.BLKTYPE), "is a device or pipe"),
    "pipe": (entry("a", type=tarfile.FIFOTYPE), "is a device or pipe"),
    "sparse": (FILE + header(tarfile.GNUTYPE_SPARSE, 0), "a sparse file"),
    "sparse of petabytes": (sparse(major="1", minor="0", name="a", realsize=str(2**50)), "sparse"),
    "bomb by count": (b"".join(entry(f"f{n}") for n in range(FILES + 1)), "files"),
    "bomb by size": (entry("a", bytes(BYTES + 1)), "bytes"),
    "bomb that lies of its size": (FILE + header(tarfile.REGTYPE, 2**33), ""),
}


def check_rejected(site: Site, tarball: bytes, words: str) -> None:
    result = site.send(tarball)
    assert (result.verdict, result.steps) == (Verdict.REJECTED, ())
    assert words in str(result.error)


@pytest.mark.parametrize("kind", TARBALLS)
def test_tarball_is_rejected(site: Site, kind: str) -> None:
    data, words = TARBALLS[kind]
    check_rejected(site, directory("safe") + data + END, words)


def test_name_that_is_not_utf_8_is_only_shown_otherwise(site: Site) -> None:
    name = os.fsdecode(b"\xff")
    result = site.send(directory(name) + entry(f"{name}/file") + END)
    assert (result.verdict, result.attempts) == (Verdict.PASSED, 1)


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
def test_bomb_by_ratio_is_rejected(site: Site, packed: type[bytes]) -> None:
    bomb = packed(entry("a", bytes(8 * BYTES)) + END)
    assert len(bomb) < BYTES // 50
    check_rejected(site, bomb, "bytes")


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 1_000, 16_000])
def test_truncated_tarball_is_rejected(site: Site, cut: int) -> None:
    complete = gzip.compress(entry("a", os.urandom(16_384)) + END)
    check_rejected(site, complete[:cut], "")


@pytest.mark.parametrize("data", [b"", b"no tarball at all", bytes(10_240), b"\x1f\x8b\x08" * 99])
def test_invalid_tarball_is_rejected(site: Site, data: bytes) -> None:
    check_rejected(site, data, "")
