"""Blobs: bytes stored once under their sha256.

Small blobs are in Redis, large ones in an object store: a directory or S3, through ``obstore``.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Self, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, ObjectStore, from_url
from redis import Redis

from revalid.jobs.connection import broker_errors
from revalid.jobs.errors import RETRY_AFTER_S, BrokerUnavailable, InvalidProject, InvalidSettings
from revalid.jobs.ledger.keys import artifact_key, blob_key
from revalid.jobs.settings import Settings

CHUNK = 1 << 20
ARTIFACT_REDIS_BYTES = 1 << 20
MIN_TTL_S = 7 * 86_400
"""Least seconds that Redis keeps a blob, so that it outlives a long backlog."""


class BlobStore:
    """A store of blobs in Redis and an object store.

    Args:
        redis: A client that does not decode replies.
        url: ``file:///path`` or ``s3://bucket/prefix`` for blobs that are too large for Redis.
        redis_bytes: Largest blob that is kept in Redis, in bytes.
        ttl_s: Seconds that Redis keeps a blob after its last use; the ledger drops some earlier.
        broker: URL of ``redis``, for messages.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        url: str | None,
        redis_bytes: int,
        ttl_s: int,
        broker: str = "",
    ) -> None:
        self._redis = redis
        self._broker = broker
        self._redis_bytes = redis_bytes
        self._ttl_s = ttl_s
        self._url = url
        self._kind = "blob"

    @classmethod
    def from_settings(cls, redis: Redis, settings: Settings) -> Self:
        """Open the store of ``REVALID_BLOB_*``; the embedded broker's is below ``REVALID_HOME``."""
        url = _url_of(settings)
        return cls(
            redis,
            url=url,
            redis_bytes=settings.project_redis_bytes,
            ttl_s=max(settings.result_ttl_s, MIN_TTL_S),
            broker=settings.broker_url or "",
        )

    @classmethod
    def of_artifacts(cls, redis: Redis, settings: Settings) -> Self:
        """Open the store of artifacts, which producers may read; Redis holds only small ones."""
        store = cls.from_settings(redis, settings)
        store._kind = "artifact"
        store._redis_bytes = min(store._redis_bytes, ARTIFACT_REDIS_BYTES)
        return store

    def in_redis(self, size: int) -> bool:
        """Return whether a blob of this size is kept in Redis."""
        return size <= self._redis_bytes

    def put(self, file: IO[bytes], digest: str, size: int) -> None:
        """Store the bytes of a file, unless they are stored already.

        Raises:
            InvalidProject: The file is too large for Redis, and no object store is set.
            BrokerUnavailable: Redis or the object store refused the bytes.
        """
        key = self._key(digest)
        if self.in_redis(size):
            with broker_errors(self._broker):
                if not self._redis.expire(key, self._ttl_s):
                    self._redis.set(key, file.read(), ex=self._ttl_s)
            return
        store = self._object_store(size)
        try:
            try:
                if obstore.head(store, key)["size"] == size:
                    self._touch(key)
                    return
            except FileNotFoundError:
                pass
            obstore.put(store, key, file)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise BrokerUnavailable(
                f"blob store {self._url} did not store {size} bytes: {_first_line(error)}",
                retry_after_s=RETRY_AFTER_S,
            ) from None

    def fetch(self, digest: str, into: Path) -> None:
        """Write a blob to a file, and check its digest.

        Raises:
            InvalidProject: The blob is gone or damaged.
            BrokerUnavailable: Redis or the object store does not answer.
        """
        key = self._key(digest)
        sha = hashlib.sha256()
        with broker_errors(self._broker):
            in_redis = self._redis.expire(key, self._ttl_s)
        with into.open("wb") as out:
            if in_redis:
                self._read(key, out, sha)
            elif self._url is None:
                raise InvalidProject(f"{self._what} {digest[:12]} is gone: submit the job again")
            else:
                self._download(key, out, sha)
        if sha.hexdigest() != digest:
            self._forget(key)
            raise InvalidProject(f"{self._what} {digest[:12]} is damaged: submit the job again")

    def _read(self, key: str, out: IO[bytes], sha: "hashlib._Hash") -> None:
        """Copy in chunks: a client needs three times the memory of one read."""
        at = 0
        while True:
            with broker_errors(self._broker):
                chunk = cast("bytes", self._redis.getrange(key, at, at + CHUNK - 1))
            if not chunk:
                return
            sha.update(chunk)
            out.write(chunk)
            at += len(chunk)

    def _touch(self, key: str) -> None:
        """Set the file's time to its last use, if this user may."""
        if (path := _path_of(self._url)) is not None:
            with suppress(OSError):
                os.utime(path / key)

    def _download(self, key: str, out: IO[bytes], sha: "hashlib._Hash") -> None:
        self._touch(key)
        try:
            for chunk in obstore.get(self._object_store(0), key).stream(min_chunk_size=CHUNK):
                sha.update(chunk)
                out.write(chunk)
        except FileNotFoundError:
            raise InvalidProject(
                f"{self._what} {key} is neither in Redis nor in {self._url}: submit the job again"
            ) from None
        except (obstore.exceptions.BaseError, OSError) as error:
            raise BrokerUnavailable(
                f"blob store {self._url} did not answer: {_first_line(error)}",
                retry_after_s=RETRY_AFTER_S,
            ) from None

    def _forget(self, key: str) -> None:
        """Delete a damaged blob, so that the next submit stores it again."""
        self._redis.delete(key)
        if self._url is not None:
            with suppress(obstore.exceptions.BaseError, OSError):
                obstore.delete(self._object_store(0), key)

    @property
    def _what(self) -> str:
        return "the project" if self._kind == "blob" else "the archive of artifacts"

    def _key(self, digest: str) -> str:
        return blob_key(digest) if self._kind == "blob" else artifact_key(digest)

    def _object_store(self, size: int) -> ObjectStore:
        if self._url is None:
            raise InvalidProject(
                f"{self._what} has {size} bytes, above REVALID_BLOB_REDIS_BYTES "
                f"({self._redis_bytes}): set REVALID_BLOB_URL to file:///path or s3://bucket"
            )
        try:
            if (path := _path_of(self._url)) is not None:
                return LocalStore(path, mkdir=True)
            return from_url(self._url)
        except (obstore.exceptions.BaseError, ValueError, OSError) as error:
            raise InvalidSettings(
                f"REVALID_BLOB_URL {self._url!r}: {_first_line(error)}; "
                "use file:///path or s3://bucket/prefix"
            ) from None


def directory_of(settings: Settings) -> Path | None:
    """Return the directory of large blobs; None if the object store is not a directory."""
    return _path_of(_url_of(settings))


def _url_of(settings: Settings) -> str | None:
    if settings.blob_url is None and settings.embedded:
        return (settings.home.absolute() / "blobs").as_uri()
    return settings.blob_url


def _path_of(url: str | None) -> Path | None:
    if url is None or not url.startswith("file:///"):
        return None
    return Path(unquote(urlsplit(url).path))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
