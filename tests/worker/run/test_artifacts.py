"""Collection of a job's artifacts."""

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


async def collected(
    command: str, globs: tuple[str, ...], store: BlobStore, tmp_path: Path, most: int = 2**20
) -> Collection:
    """Run a command in the local sandbox and collect its files."""
    sandbox = LocalSandbox(scratch=tmp_path, passthrough={})
    try:
        assert (await sandbox.exec(command)).exit_code == 0
        return await collect(sandbox, globs, tmp_path / "exported", store, tmp_path, most)
    finally:
        await sandbox.close()


def content(collection: Collection, store: BlobStore, tmp_path: Path) -> dict[str, bytes]:
    assert collection.report is not None
    packed = tmp_path / "packed.tar.gz"
    store.fetch(collection.report.digest.removeprefix("sha256:"), packed)
    with packed.open("rb") as file:
        summary = tarball.check(file, tarball.Bounds(1_000, collection.report.size_bytes))
    assert (summary.files, summary.size_bytes) == (
        collection.report.files,
        collection.report.size_bytes,
    )
    contents = {}
    with tarfile.open(packed) as tar:
        for member in tar:
            file_ = tar.extractfile(member)
            assert file_ is not None
            contents[member.name] = file_.read()
    return contents


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
async def test_globs_match_paths_below_the_workspace(
    store: BlobStore, tmp_path: Path, globs: tuple[str, ...], names: set[str]
) -> None:
    collection = await collected(MAKE, globs, store, tmp_path)
    assert {*content(collection, store, tmp_path)} == names
    assert collection.notes == []


async def test_nothing_is_stored_without_a_match(store: BlobStore, tmp_path: Path) -> None:
    assert await collected(MAKE, (), store, tmp_path) == Collection()
    collection = await collected(MAKE, ("none",), store, tmp_path)
    assert (collection.report, collection.notes) == (None, ["artifacts: no file matches"])


async def test_links_are_not_followed(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("of the worker")
    outside = tmp_path / "canary"
    command = f"echo 1 >real; ln -s {outside} link; ln -s {tmp_path} up; mkfifo pipe"
    collection = await collected(command, ("**",), store, tmp_path)
    assert {*content(collection, store, tmp_path)} == {"real"}


async def test_nothing_is_collected_from_a_workspace_that_is_a_link(
    store: BlobStore, tmp_path: Path
) -> None:
    collection = await collected(
        "cd .. && rm -rf workspace && ln -s / workspace", ("etc",), store, tmp_path
    )
    assert collection.report is None


async def test_files_above_the_limit_are_left_out_with_a_note(
    store: BlobStore, tmp_path: Path
) -> None:
    command = "head -c 600 /dev/zero >a; head -c 600 /dev/zero >b; echo 1 >c"
    collection = await collected(command, ("*",), store, tmp_path, most=1_000)
    assert {*content(collection, store, tmp_path)} == {"a", "c"}
    (note,) = collection.notes
    assert "1 left out" in note
    assert "REVALID_ARTIFACT_BYTES" in note


async def test_paths_too_deep_to_unpack_are_left_out(store: BlobStore, tmp_path: Path) -> None:
    deep = "/".join("a" * (tarball.MAX_DEPTH + 1))
    collection = await collected(
        f"mkdir -p {deep} && echo 1 >{deep}/b && echo 1 >c", ("**",), store, tmp_path
    )
    assert {*content(collection, store, tmp_path)} == {"c"}
    assert "1 left out" in collection.notes[0]


async def test_a_sparse_file_takes_no_disk_space(store: BlobStore, tmp_path: Path) -> None:
    sandbox = LocalSandbox(scratch=tmp_path, passthrough={})
    try:
        assert (await sandbox.exec("truncate -s 2G a; echo 1 >b")).exit_code == 0
        await sandbox.export_matching(("**",), tmp_path / "out", most_bytes=1_000)
    finally:
        await sandbox.close()
    assert (tmp_path / "out/a").stat().st_blocks * 512 < 2**20
    assert (tmp_path / "out/b").read_text() == "1\n"


async def test_exported_directories_are_included(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "exported/2").mkdir(parents=True)
    (tmp_path / "exported/2/file").write_text("step 2")
    command = "mkdir exported; echo 1 >exported/2; echo 1 >other"
    collection = await collected(command, ("**",), store, tmp_path)
    assert content(collection, store, tmp_path) == {"other": b"1\n", "exported/2/file": b"step 2"}


async def test_an_archive_that_cannot_be_stored_is_only_a_note(
    store: BlobStore, tmp_path: Path
) -> None:
    collection = await collected(
        "head -c 2000000 /dev/urandom >big", ("big",), store, tmp_path, most=2**30
    )
    assert collection.report is None
    assert "REVALID_BLOB_URL" in collection.notes[0]


async def test_equal_files_are_stored_once(store: BlobStore, tmp_path: Path, redis: Redis) -> None:
    collection = await collected(MAKE, ("**",), store, tmp_path)
    assert await collected(MAKE, ("**",), store, tmp_path) == collection
    assert len(redis.keys("revalid:artifact:*")) == 1


async def test_many_globs_for_many_files_are_only_a_note(store: BlobStore, tmp_path: Path) -> None:
    deep = "/".join(["abcdeabcde"] * 60)
    globs = tuple(f"x{'/*' * 120}/{number}" for number in range(64))
    command = f"mkdir -p {deep}; cd {deep}; i=0; while [ $i -lt 500 ]; do : >$i; i=$((i + 1)); done"
    collection = await collected(command, globs, store, tmp_path)
    assert collection.report is None
    assert "too many or too long globs for so many paths" in " ".join(collection.notes)
