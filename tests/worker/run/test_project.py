"""Fetching and checking of projects on the worker."""

import io
import tarfile
from pathlib import Path

import pytest

from revalid.jobs.connection import connect
from revalid.jobs.errors import InvalidProject, PolicyRefused
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.projects.tarball import digest
from revalid.jobs.settings import load_settings
from revalid.jobs.source import PathSource, TarballSource
from revalid.worker.run.project import fetch_project


@pytest.fixture
def blobs(valkey_url: str) -> BlobStore:
    return BlobStore(connect(valkey_url, text=False), url=None, redis_bytes=1_000_000, ttl_s=60)


def store(blobs: BlobStore, names: dict[str, str]) -> TarballSource:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
    source = TarballSource(digest=digest(packed), size_bytes=len(packed.getvalue()))
    blobs.put(packed, source.digest, source.size_bytes)
    return source


def test_tarball_is_unpacked_and_described(blobs: BlobStore, tmp_path: Path) -> None:
    source = store(blobs, {"package.json": "{}", "src/a.ts": "1"})
    project = fetch_project(source, blobs, load_settings({}, env_file=None), tmp_path)
    assert (project.root / "src/a.ts").read_text() == "1"
    assert project.report.digest == f"sha256:{source.digest}"
    assert (project.report.files, project.report.size_bytes) == (2, 3)


def test_worker_checks_a_tarball_again(blobs: BlobStore, tmp_path: Path) -> None:
    source = store(blobs, {"../escaped": "x"})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(InvalidProject, match="outside the project"):
        fetch_project(source, blobs, load_settings({}, env_file=None), scratch)
    assert not list(tmp_path.rglob("escaped"))


def test_path_is_read_only_below_a_source_root(blobs: BlobStore, tmp_path: Path) -> None:
    root, scratch, outside = (tmp_path / name for name in ("root", "scratch", "outside"))
    for directory in (root / "app", scratch, outside):
        directory.mkdir(parents=True)
    (root / "app" / "package.json").write_text("{}")
    (root / "link").symlink_to(outside)
    here = load_settings({}, env_file=None, source_roots=(str(root),))
    project = fetch_project(PathSource(path=str(root / "app")), blobs, here, scratch)
    assert (project.root / "package.json").read_text() == "{}"
    for number, path in enumerate((outside, root / "link", root / ".." / "outside", Path("/"))):
        (scratch / str(number)).mkdir()
        with pytest.raises(PolicyRefused, match="REVALID_SOURCE_ROOTS"):
            fetch_project(PathSource(path=str(path)), blobs, here, scratch / str(number))


def test_no_path_is_allowed_by_default(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(PolicyRefused):
        fetch_project(
            PathSource(path=str(tmp_path)), blobs, load_settings({}, env_file=None), tmp_path
        )
