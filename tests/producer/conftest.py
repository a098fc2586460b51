"""A real broker for the producer's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from revalid.jobs.settings import Settings, load_settings
from revalid.producer.client import Client
from revalid.producer.local.broker import EmbeddedBroker
from tests.producer.archive.databases import archive_url, query

__all__ = ["archive_url", "query"]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A server that lives as long as the session; ``settings`` empties it."""
    made = EmbeddedBroker(tmp_path_factory.mktemp("home"))
    with made.attached():
        yield made


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    """Settings that name the broker and nothing else of this machine."""
    found = load_settings(
        {"REVALID_BROKER_URL": broker.url, "REVALID_HOME": str(broker.home)}, env_file=None
    )
    with Client(found) as client:
        client._redis.flushdb()
    return found


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A client of an empty broker."""
    with Client(settings) as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with one file."""
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "hello.txt").write_text("hello\n")
    return directory
