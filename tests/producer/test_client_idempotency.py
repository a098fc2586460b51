"""A key makes a repeated submit safe, also for jobs that would otherwise run again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidJob, QueueFull
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from revalid.jobs.result import Verdict
from revalid.jobs.settings import Settings
from revalid.producer.async_client import AsyncClient
from revalid.producer.client import IDEMPOTENCY_S, Client


def test_the_same_request_is_the_same_job_however_it_ended(client: Client, project: Path) -> None:
    first = client.submit(project, idempotency_key="a")
    under_way = client.submit(project, idempotency_key="a")
    assert (under_way.id, under_way.outcome) == (first.id, SubmitOutcome.JOINED)
    first.cancel()
    again = client.submit(project, idempotency_key="a")
    assert (again.id, again.outcome) == (first.id, SubmitOutcome.REUSED)
    assert again.result(1).verdict is Verdict.CANCELLED
    assert first.status().state is JobState.DONE
    assert client.submit(project, idempotency_key="b").outcome is SubmitOutcome.NEW


def test_a_fresh_request_makes_one_job_for_each_key(client: Client, project: Path) -> None:
    plain = client.submit(project)
    keys = ("a", "a", "b")
    made = [client.submit(project, fresh=True, idempotency_key=key) for key in keys]
    assert made[0].id == made[1].id
    assert len({plain.id, *(handle.id for handle in made)}) == 3


def test_another_request_with_the_key_is_refused(client: Client, project: Path) -> None:
    client.submit(project, idempotency_key="a", labels={"n": "1"})
    for other in ({"labels": {"n": "2"}}, {"commands": ["ls"]}, {"webhook": "https://x/"}):
        with pytest.raises(InvalidJob, match="key 'a': it was used for another request"):
            client.submit(project, idempotency_key="a", **other)
    assert client._redis.zcard("revalid:queued") == 1


def test_tenants_have_keys_of_their_own(client: Client, project: Path) -> None:
    ids = {client.submit(project, idempotency_key="a", tenant=name).id for name in ("x", "y")}
    assert len(ids) == 2


def test_one_of_several_concurrent_requests_gets_the_key(client: Client, project: Path) -> None:
    together = threading.Barrier(8)

    def submit(number: int) -> str | None:
        together.wait(20)
        try:
            return client.submit(project, commands=[f"echo {number % 2}"], idempotency_key="a").id
        except InvalidJob:
            return None

    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(submit, range(8), timeout=60))
    assert ids.count(None) == 4
    assert len({*ids}) == 2
    assert client._redis.zcard("revalid:queued") == 1


def test_a_try_that_stored_no_job_can_be_repeated(settings: Settings, project: Path) -> None:
    with Client(settings.model_copy(update={"queued_jobs": 1})) as full:
        full.submit(project, commands=["ls"])
        with pytest.raises(QueueFull):
            full.submit(project, idempotency_key="a")
    with Client(settings) as client:
        assert client.submit(project, idempotency_key="a").outcome is SubmitOutcome.NEW


def test_a_key_is_kept_for_a_day_as_a_digest(client: Client, project: Path) -> None:
    client.submit(project, idempotency_key="a customer's order")
    (key,) = client._redis.keys("revalid:idempotency:*")
    assert 0 < client._redis.ttl(key) <= IDEMPOTENCY_S
    assert "customer" not in key


async def test_the_async_client_takes_a_key_and_follows_by_id(
    settings: Settings, project: Path
) -> None:
    async with AsyncClient(settings) as client:
        first = await client.submit(project, idempotency_key="a")
        await first.cancel()
        assert (await client.submit(project, idempotency_key="a")).outcome is SubmitOutcome.REUSED
        found = [event async for event in client.events(first.id)]
        assert [event.type for event in found] == ["queued", "finished"]
        assert [event async for event in client.events(first.id, after=found[0].id)] == found[1:]
        assert list(client.sync.events(first.id, after=found[0].id)) == found[1:]
