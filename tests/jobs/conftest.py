"""Fixtures of these tests."""

from collections.abc import Iterator

import pytest
from redis import Redis

from jobs.connection import connect
from jobs.ledger import Ledger


@pytest.fixture
def raw(valkey_url: str) -> Iterator[Redis]:
    """A client that does not decode."""
    with connect(valkey_url, text=False) as client:
        yield client


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    """A ledger that holds nothing and keeps results for ten minutes."""
    return Ledger(redis, result_ttl_s=600)


@pytest.fixture
def full(redis: Redis) -> Iterator[None]:
    """The broker stores nothing more."""
    redis.config_set("maxmemory", 1)
    yield
    redis.config_set("maxmemory", 0)
