"""Blobs: two places behind one digest, stored once, and checked when fetched."""

import hashlib
from io import BytesIO
from pathlib import Path

import pytest
from redis import Redis

from revalid.jobs.errors import BrokerUnavailable, InvalidProject, InvalidSettings
from revalid.jobs.projects.blobs import MIN_TTL_S, BlobStore
from revalid.jobs.settings import load_settings

DATA = b"a project\0" * 10
DIGEST = hashlib.sha256(DATA).hexdigest()
KEY = f"revalid:blob:{DIGEST}"
TTL_S = 600


class Unread(BytesIO):
    """A file that nobody may read."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("it was stored a second time")

    readinto = readline = readlines = read  # type: ignore[assignment]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "a store #1%20"


@pytest.fixture
def small(raw: Redis) -> BlobStore:
    """A store where the data fits in Redis."""
    return BlobStore(raw, url=None, redis_bytes=len(DATA), ttl_s=TTL_S)


@pytest.fixture
def large(raw: Redis, directory: Path) -> BlobStore:
    """A store where the data is too large for Redis."""
    return BlobStore(raw, url=directory.as_uri(), redis_bytes=len(DATA) - 1, ttl_s=TTL_S)


def put(store: BlobStore, data: bytes = DATA) -> None:
    store.put(BytesIO(data), DIGEST, len(DATA))


def fetch(store: BlobStore, tmp_path: Path) -> bytes:
    store.fetch(DIGEST, tmp_path / "fetched")
    return (tmp_path / "fetched").read_bytes()


def test_a_small_blob_is_kept_in_redis_for_a_time(
    small: BlobStore, raw: Redis, tmp_path: Path
) -> None:
    put(small)
    assert raw.keys() == [KEY.encode()]
    assert raw.ttl(KEY) == TTL_S
    assert fetch(small, tmp_path) == DATA


@pytest.mark.parametrize("piece", [1, 7, len(DATA) - 1, len(DATA), len(DATA) + 1])
def test_a_blob_is_read_from_redis_in_pieces(
    small: BlobStore, raw: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr("revalid.jobs.projects.blobs.CHUNK", piece)
    put(small)
    raw.expire(KEY, 1)
    assert fetch(small, tmp_path) == DATA
    assert raw.ttl(KEY) == TTL_S


def test_a_large_blob_is_kept_in_the_directory(
    large: BlobStore, raw: Redis, directory: Path, tmp_path: Path
) -> None:
    put(large)
    assert raw.keys() == []
    assert (directory / KEY).read_bytes() == DATA
    assert [path.name for path in directory.iterdir()] == [KEY]
    assert fetch(large, tmp_path) == DATA


def test_a_small_blob_is_stored_once_and_lives_on(small: BlobStore, raw: Redis) -> None:
    put(small)
    raw.expire(KEY, 1)
    small.put(Unread(), DIGEST, len(DATA))
    assert raw.ttl(KEY) == TTL_S


def test_a_large_blob_is_stored_once(large: BlobStore, directory: Path) -> None:
    put(large)
    large.put(Unread(), DIGEST, len(DATA))
    assert (directory / KEY).read_bytes() == DATA


def test_a_truncated_large_blob_is_stored_again(large: BlobStore, directory: Path) -> None:
    put(large)
    (directory / KEY).write_bytes(DATA[:-1])
    put(large)
    assert (directory / KEY).read_bytes() == DATA


def test_a_blob_too_large_for_redis_needs_a_store(raw: Redis) -> None:
    store = BlobStore(raw, url=None, redis_bytes=10, ttl_s=TTL_S)
    words = rf"has {len(DATA)} bytes, above REVALID_BLOB_REDIS_BYTES \(10\): set REVALID_BLOB_URL"
    with pytest.raises(InvalidProject, match=words):
        put(store)
    assert raw.keys() == []


def test_a_small_blob_that_is_gone(small: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidProject, match=f"{DIGEST[:12]} is gone: submit the job again"):
        fetch(small, tmp_path)


def test_a_large_blob_that_is_gone(large: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidProject, match=f"{DIGEST} is neither in Redis nor in file://.*: submit"
    ):
        fetch(large, tmp_path)


def test_a_worker_that_keeps_more_in_redis_finds_what_a_producer_stored_elsewhere(
    raw: Redis, large: BlobStore, directory: Path, tmp_path: Path
) -> None:
    put(large)
    worker = BlobStore(raw, url=directory.as_uri(), redis_bytes=2**20, ttl_s=TTL_S)
    assert fetch(worker, tmp_path) == DATA


def test_a_damaged_small_blob_is_refused_and_repaired_by_the_next_submit(
    small: BlobStore, raw: Redis, tmp_path: Path
) -> None:
    put(small)
    raw.set(KEY, DATA[::-1])
    with pytest.raises(InvalidProject, match=f"{DIGEST[:12]} is damaged: submit the job again"):
        fetch(small, tmp_path)
    put(small)
    assert fetch(small, tmp_path) == DATA


def test_a_damaged_large_blob_is_refused_and_repaired_by_the_next_submit(
    large: BlobStore, directory: Path, tmp_path: Path
) -> None:
    put(large)
    (directory / KEY).write_bytes(DATA[::-1])
    with pytest.raises(InvalidProject, match=f"{DIGEST[:12]} is damaged: submit the job again"):
        fetch(large, tmp_path)
    put(large)
    assert fetch(large, tmp_path) == DATA


def test_a_store_that_cannot_be_written(large: BlobStore, directory: Path) -> None:
    (directory / KEY / "taken").mkdir(parents=True)
    words = rf"^blob store file://.* did not store {len(DATA)} bytes: .*"
    with pytest.raises(BrokerUnavailable, match=words) as caught:
        put(large)
    assert str(caught.value).splitlines() == [str(caught.value)]


def test_a_store_that_cannot_be_read(large: BlobStore, directory: Path, tmp_path: Path) -> None:
    directory.mkdir()
    (directory / KEY).symlink_to(KEY)
    with pytest.raises(BrokerUnavailable, match=r"^blob store file://.* did not answer: .*$"):
        fetch(large, tmp_path)


@pytest.mark.parametrize("url", ["ftp://host/blobs", "blobs", "file://relative/blobs"])
def test_a_url_that_is_not_a_store_is_refused(raw: Redis, url: str) -> None:
    store = BlobStore(raw, url=url, redis_bytes=0, ttl_s=TTL_S)
    words = rf"^REVALID_BLOB_URL '{url}': .*; use file:///path or s3://bucket/prefix$"
    with pytest.raises(InvalidSettings, match=words):
        put(store)


def test_a_directory_that_cannot_be_made_is_refused(raw: Redis, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    url = (tmp_path / "file" / "blobs").as_uri()
    store = BlobStore(raw, url=url, redis_bytes=0, ttl_s=TTL_S)
    with pytest.raises(InvalidSettings, match=r"REVALID_BLOB_URL 'file://.*use file:///path"):
        put(store)


def test_the_settings_name_the_store(raw: Redis, directory: Path, tmp_path: Path) -> None:
    def from_settings(**fields: object) -> BlobStore:
        fields = {"home": directory, "blob_redis_bytes": 0, "result_ttl_s": TTL_S} | fields
        return BlobStore.from_settings(raw, load_settings({}, env_file=None, **fields))

    put(from_settings(embedded=True))
    assert (directory / "blobs" / KEY).read_bytes() == DATA
    put(from_settings(blob_url=tmp_path.as_uri(), embedded=True))
    assert (tmp_path / KEY).read_bytes() == DATA
    with pytest.raises(InvalidProject, match="set REVALID_BLOB_URL"):
        put(from_settings())
    put(from_settings(blob_redis_bytes=len(DATA)))
    assert raw.ttl(KEY) == MIN_TTL_S
