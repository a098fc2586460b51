"""Event streams: written, read from any point, waited for, and bounded."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from revalid.jobs import events
from revalid.jobs.connection import connect, connect_async
from revalid.jobs.errors import InvalidJob
from revalid.jobs.events import (
    FinishedEvent,
    QueuedEvent,
    StartedEvent,
    check_position,
    read,
    read_all,
    read_async,
)
from revalid.jobs.ledger.keys import events_key
from revalid.jobs.ledger.ledger import EVENTS_MAX, Ledger
from revalid.jobs.ledger.record import Attempt
from revalid.jobs.result import Verdict
from tests.jobs.samples import make_job, until

NO_WAIT = 0.001


def append(redis: Redis, job_id: str, type_: str, data: dict[str, Any]) -> None:
    redis.xadd(events_key(job_id), {"type": type_, "data": json.dumps(data)})


def is_somebody_waiting(redis: Redis) -> bool:
    return bool(redis.info("clients")["blocked_clients"])


def test_events_are_read_in_order_with_their_data(redis: Redis) -> None:
    append(redis, "a", "sandbox", {"kind": "local", "fallback_reason": None})
    append(redis, "a", "output", {"index": 0, "stream": "stdout", "text": "ü\n\x1b[31m"})
    append(redis, "b", "plan", {})
    found = read(redis, "a", "0")
    assert [(event.type, event.data) for event in found] == [
        ("sandbox", {"kind": "local", "fallback_reason": None}),
        ("output", {"index": 0, "stream": "stdout", "text": "ü\n\x1b[31m"}),
    ]


def test_reading_resumes_after_an_event(redis: Redis) -> None:
    for index in range(5):
        append(redis, "a", "output", {"index": index})
    found = read(redis, "a", "0")
    assert read(redis, "a", found[2].id) == found[3:]
    assert read(redis, "a", found[4].id, block_s=NO_WAIT) == []


async def test_both_readers_read_the_same(redis: Redis, valkey_url: str) -> None:
    for index in range(3):
        append(redis, "a", "output", {"index": index})
    async with connect_async(valkey_url) as client:
        found = await read_async(client, "a", "0")
        assert found == read(redis, "a", "0")
        assert await read_async(client, "a", found[1].id) == found[2:]
        assert await read_async(client, "a", found[2].id, block_s=NO_WAIT) == []


def test_a_reader_waits_for_the_next_event(redis: Redis, valkey_url: str) -> None:
    append(redis, "a", "queued", {})
    (first,) = read(redis, "a", "0")
    with connect(valkey_url) as client, ThreadPoolExecutor() as pool:
        answer = pool.submit(read, client, "a", first.id)
        until(lambda: is_somebody_waiting(redis))
        append(redis, "a", "started", {"attempt": 1, "worker": "host:1"})
        (second,) = answer.result()
    assert second == StartedEvent(second.id, {"attempt": 1, "worker": "host:1"})


async def test_an_asynchronous_reader_waits_for_the_next_event(
    redis: Redis, valkey_url: str
) -> None:
    async with connect_async(valkey_url) as client:
        answer = asyncio.create_task(read_async(client, "a", "0"))
        await asyncio.to_thread(until, lambda: is_somebody_waiting(redis))
        append(redis, "a", "started", {"attempt": 1, "worker": "host:1"})
        (event,) = await answer
    assert event == StartedEvent(event.id, {"attempt": 1, "worker": "host:1"})


def test_every_wait_is_bounded(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(redis, "a", "0", block_s=0) == []
    assert read(redis, "a", "0", block_s=-1) == []
    monkeypatch.setattr(events, "BLOCK_S", NO_WAIT)
    assert read(redis, "a", "0", block_s=3_600) == []


def test_one_read_waits_for_less_than_its_socket_does(redis: Redis) -> None:
    assert redis.connection_pool.connection_kwargs["socket_timeout"] > events.BLOCK_S


def test_the_oldest_events_are_dropped_above_a_bound(
    redis: Redis, queued: Ledger, attempt: Attempt
) -> None:
    total = EVENTS_MAX + 250
    for index in range(total):
        queued.append(attempt, "output", json.dumps({"index": index}))
    kept = [
        event.data["index"] for event in read_all(redis, attempt.job_id) if event.type == "output"
    ]
    slack = 100  # Redis drops whole nodes of its stream
    assert EVENTS_MAX <= len(kept) <= EVENTS_MAX + slack
    assert kept == list(range(total - len(kept), total))


def test_the_ledgers_own_events_are_read_as_well(redis: Redis, ledger: Ledger) -> None:
    job = make_job()
    ledger.submit(job, "q")
    attempt = ledger.claim(job.id, "host:1")
    assert attempt is not None
    ledger.finish(attempt, Verdict.FAILED, "{}", reusable=True)
    found = read(redis, job.id, "0")
    assert [(event.type, event.data, event.last) for event in found] == [
        ("queued", {}, False),
        ("started", {"worker": "host:1", "attempt": 1}, False),
        ("finished", {"verdict": "failed"}, True),
    ]
    assert redis.exists(events_key(job.id))


@pytest.mark.parametrize("after", ["0", "1732370000000", "1732370000000-0", "9" * 19])
def test_redis_accepts_every_valid_position(after: str, redis: Redis) -> None:
    check_position(after)
    assert read(redis, "a", after, block_s=NO_WAIT) == []


@pytest.mark.parametrize("after", ["", "$", "+", "-1", "1-", "1-2-3", "a", "1\n", "9" * 20, "1-$"])
def test_an_invalid_position_is_refused(after: str) -> None:
    with pytest.raises(InvalidJob, match=r"^event id .*: give the id of an event, or 0 to"):
        check_position(after)


def test_only_finished_is_the_last() -> None:
    assert FinishedEvent("1-0", {"verdict": "passed"}).last
    assert not QueuedEvent("1-0", {}).last


def test_an_event_of_a_later_version_is_skipped(redis: Redis) -> None:
    append(redis, "a", "weather", {"sky": "blue"})
    append(redis, "a", "queued", {})
    assert [event.type for event in read(redis, "a", "0")] == ["queued"]
