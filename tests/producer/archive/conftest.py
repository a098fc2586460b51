"""Fixtures of these tests."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from revalid.jobs.settings import load_settings
from revalid.producer.archive.store import Archive
from revalid.producer.client import Client


@pytest.fixture
def client(valkey_url: str) -> Iterator[Client]:
    """A client of a broker that holds nothing."""
    with Client(load_settings({}, env_file=None, broker_url=valkey_url)) as made:
        yield made


@pytest.fixture
def archive(archive_url: str) -> Iterator[Archive]:
    """An archive that holds nothing."""
    made = Archive(SecretStr(archive_url))
    made.create()
    yield made
    made.close()
