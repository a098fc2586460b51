"""What of a job's files is kept."""

import tarfile
from pathlib import Path

import pytest
from redis import Redis

from revalid.jobs.connection import connect
from revalid.jobs.projects import tarball
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.settings import load_settings
from revalid.worker.run.artifacts import Collection, collect
from revalid.worker.sandboxes.local.sandbox import LocalSandbox


@pytest.fixture
def store(valkey_url: str) -> BlobStore:
    settings = load_settings({}, env_file=None)
    return BlobStore.of_artifacts(connect(valkey_url, text=False), settings)


async def kept(
    command: str, globs: tuple[str, ...], store: BlobStore, tmp_path: Path, most: int = 2**20
) -> Collection:
    """What is kept of what a command makes, in the local sandbox."""
    sandbox = LocalSandbox(scratch=tmp_path, passthrough={})
    try:
        assert (await sandbox.exec(command)).exit_code == 0
        return await collect(sandbox, globs, tmp_path / "exported", store, tmp_path, most)
    finally:
        await sandbox.close()


def content(made: Collection, store: BlobStore, tmp_path: Path) -> dict[str, bytes]:
    assert made.report is not None
    packed = tmp_path / "packed.tar.gz"
    store.fetch(made.report.digest.removeprefix("sha256:"), packed)
    with packed.open("rb") as file:
        summary = tarball.check(file, tarball.Bounds(1_000, made.report.size_bytes))
    assert (summary.files, summary.size_bytes) == (made.report.files, made.report.size_bytes)
    found = {}
    with tarfile.open(packed) as tar:
        for member in tar:
            file_ = tar.extractfile(member)
            assert file_ is not None
            found[member.name] = file_.read()
    return found


MAKE = "mkdir -p dist/js a/b && echo 1 >dist/js/x.js && echo 2 >a/b/junit.xml && echo 3 >other"


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (("dist",), {"dist/js/x.js"}),
        (("dist/**", "oth?r"), {"dist/js/x.js", "other"}),
        (("**/junit.xml",), {"a/b/junit.xml"}),
        (("junit.xml", "o*"), {"other"}),
        (("**",), {"dist/js/x.js", "a/b/junit.xml", "other"}),
    ],
)
async def test_globs_are_of_paths_below_the_workspace(
    store: BlobStore, tmp_path: Path, globs: tuple[str, ...], names: set[str]
) -> None:
    made = await kept(MAKE, globs, store, tmp_path)
    assert {*content(made, store, tmp_path)} == names
    assert made.notes == []


async def test_nothing_asked_for_is_nothing_kept(store: BlobStore, tmp_path: Path) -> None:
    assert await kept(MAKE, (), store, tmp_path) == Collection()
    made = await kept(MAKE, ("none",), store, tmp_path)
    assert (made.report, made.notes) == (None, ["artifacts: no file matches"])


async def test_links_are_not_followed(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("of the worker")
    outside = tmp_path / "canary"
    command = f"echo 1 >real; ln -s {outside} link; ln -s {tmp_path} up; mkfifo pipe"
    made = await kept(command, ("**",), store, tmp_path)
    assert {*content(made, store, tmp_path)} == {"real"}


async def test_a_workspace_that_is_a_link_holds_nothing(store: BlobStore, tmp_path: Path) -> None:
    made = await kept("cd .. && rm -rf workspace && ln -s / workspace", ("etc",), store, tmp_path)
    assert made.report is None


async def test_what_is_too_much_is_left_out_and_told(store: BlobStore, tmp_path: Path) -> None:
    command = "head -c 600 /dev/zero >a; head -c 600 /dev/zero >b; echo 1 >c"
    made = await kept(command, ("*",), store, tmp_path, most=1_000)
    assert {*content(made, store, tmp_path)} == {"a", "c"}
    (note,) = made.notes
    assert "1 left out" in note
    assert "REVALID_ARTIFACT_BYTES" in note


async def test_what_lies_too_deep_to_be_unpacked_is_left_out(
    store: BlobStore, tmp_path: Path
) -> None:
    deep = "/".join("a" * (tarball.MAX_DEPTH + 1))
    made = await kept(f"mkdir -p {deep} && echo 1 >{deep}/b && echo 1 >c", ("**",), store, tmp_path)
    assert {*content(made, store, tmp_path)} == {"c"}
    assert "1 left out" in made.notes[0]


async def test_a_file_that_is_only_large_takes_no_room(store: BlobStore, tmp_path: Path) -> None:
    sandbox = LocalSandbox(scratch=tmp_path, passthrough={})
    try:
        assert (await sandbox.exec("truncate -s 2G a; echo 1 >b")).exit_code == 0
        await sandbox.export_matching(("**",), tmp_path / "out", most_bytes=1_000)
    finally:
        await sandbox.close()
    assert (tmp_path / "out/a").stat().st_blocks * 512 < 2**20
    assert (tmp_path / "out/b").read_text() == "1\n"


async def test_exported_directories_come_along(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "exported/2").mkdir(parents=True)
    (tmp_path / "exported/2/file").write_text("step 2")
    command = "mkdir exported; echo 1 >exported/2; echo 1 >other"
    made = await kept(command, ("**",), store, tmp_path)
    assert content(made, store, tmp_path) == {"other": b"1\n", "exported/2/file": b"step 2"}


async def test_an_archive_that_cannot_be_stored_fails_nothing(
    store: BlobStore, tmp_path: Path
) -> None:
    made = await kept("head -c 2000000 /dev/urandom >big", ("big",), store, tmp_path, most=2**30)
    assert made.report is None
    assert "REVALID_BLOB_URL" in made.notes[0]


async def test_equal_files_are_stored_once(store: BlobStore, tmp_path: Path, redis: Redis) -> None:
    first = await kept(MAKE, ("**",), store, tmp_path)
    assert await kept(MAKE, ("**",), store, tmp_path) == first
    assert len(redis.keys("revalid:artifact:*")) == 1
