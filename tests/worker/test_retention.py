"""Removal of old files, and the files that stay."""

import io
import os
import time
from pathlib import Path

from revalid.jobs.connection import connect
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.settings import Settings, load_settings
from revalid.worker.retention import purge

DAY_S = 86_400
DIGEST = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"  # of "0"


def settings(tmp_path: Path) -> Settings:
    url = (tmp_path / "blobs").as_uri()
    return load_settings(
        {}, env_file=None, home=tmp_path / "home", blob_url=url, blob_redis_bytes=0
    )


def make_aged(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    for file_path in (path, path.parent):
        os.utime(file_path, (0, time.time() - days * DAY_S))
    return path


def test_only_old_files_of_revalid_are_removed(tmp_path: Path) -> None:
    blobs, exports = tmp_path / "blobs", tmp_path / "home/artifacts"
    old_paths = [
        make_aged(blobs / f"revalid:blob:{'a' * 64}", 8),
        make_aged(blobs / f"revalid:artifact:{'a' * 64}", 8),
        make_aged(exports / ("c" * 32) / "1", 8).parent,
    ]
    kept_paths = [
        make_aged(blobs / f"revalid:blob:{'b' * 64}", 6),
        make_aged(blobs / "of somebody else", 100),
        make_aged(exports / ("d" * 32) / "1", 8),
        make_aged(exports / "notes" / "1", 100),
    ]
    (exports / ("d" * 32) / "2").touch()  # a later attempt
    assert purge(settings(tmp_path)) == 3
    assert not any(path.exists() for path in old_paths)
    assert all(path.exists() for path in kept_paths)
    assert purge(settings(tmp_path)) == 0


def test_empty_stores_are_left_alone(tmp_path: Path) -> None:
    assert purge(settings(tmp_path)) == 0


def test_files_submitted_or_fetched_again_stay(tmp_path: Path, valkey_url: str) -> None:
    store = BlobStore.from_settings(connect(valkey_url, text=False), settings(tmp_path))
    store.put(io.BytesIO(b"0"), DIGEST, 1)
    path = tmp_path / "blobs" / f"revalid:blob:{DIGEST}"
    make_aged(path, 8)
    store.put(io.BytesIO(b"0"), DIGEST, 1)
    assert purge(settings(tmp_path)) == 0
    make_aged(path, 8)
    store.fetch(DIGEST, tmp_path / "fetched")
    assert purge(settings(tmp_path)) == 0
