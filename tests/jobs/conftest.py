"""Fixtures of these tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from revalid.jobs.connection import connect
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt, Doorbell, SubmitOutcome
from tests.jobs.ledgers import JOB, Open, Step, claim
from tests.jobs.scripts import change


@pytest.fixture
def raw(valkey_url: str) -> Iterator[Redis]:
    """A client that does not decode."""
    with connect(valkey_url, text=False) as client:
        yield client


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    """An empty ledger that keeps results for ten minutes."""
    return Ledger(redis, result_ttl_s=600)


@pytest.fixture
def full(redis: Redis) -> Iterator[None]:
    """Make the broker full."""
    redis.config_set("maxmemory", 1)
    yield
    redis.config_set("maxmemory", 0)


@pytest.fixture
def queued(ledger: Ledger) -> Ledger:
    """The ledger, with the job queued."""
    assert ledger.submit(JOB, "q") is SubmitOutcome.NEW
    return ledger


@pytest.fixture
def attempt(queued: Ledger) -> Attempt:
    """The job's first attempt, running."""
    return claim(queued)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """An empty directory, alone in another."""
    made = tmp_path / "around" / "into"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def open_(redis: Redis) -> Open:
    """Opens a ledger with limits, and the list of the doorbells that it rings."""

    def made(**limits: Any) -> tuple[Ledger, list[Doorbell]]:
        rung: list[Doorbell] = []
        return Ledger(redis, ring=rung.append, result_ttl_s=600, **limits), rung

    return made


@pytest.fixture
def step(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Step:
    """Steps the clock that the scripts of ledgers opened from now on read."""
    line = "local clock = call('TIME')"
    change(monkeypatch, line, f"{line}; clock[1] = clock[1] + (call('GET', 'step') or 0)")

    def step(seconds: int) -> None:
        redis.incrby("step", seconds)

    return step
