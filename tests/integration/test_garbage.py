"""Garbage on the queues ends no worker and stops no job."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from revalid.jobs.job import Lane
from revalid.jobs.ledger.stats import MESSAGES_DROPPED
from revalid.jobs.queue import queue_name
from revalid.jobs.result import Verdict
from revalid.producer.client import Client
from tests.integration.conftest import StartWorker, eventually
from tests.integration.garbage import DOORBELLS, NO_DOORBELLS

QUEUES = [queue_name(Lane.INTERACTIVE), f"{queue_name(Lane.BATCH)}\x06\x169"]


def test_no_message_ends_a_worker(client: Client, start_worker: StartWorker, project: Path) -> None:
    worker, redis = start_worker(), client._redis
    children = [child.pid for child in worker.children()]
    for queue in QUEUES:
        redis.lpush(queue, *NO_DOORBELLS.values(), *DOORBELLS.values())
    dropped = len(QUEUES) * len(NO_DOORBELLS)
    eventually(
        lambda: client._ledger.stats().counters.get((MESSAGES_DROPPED,)) == dropped, within_s=60
    )
    eventually(lambda: not redis.exists(*QUEUES), within_s=60)
    handle = client.submit(project, commands=["true"], sandbox="local")
    assert handle.result(60).verdict is Verdict.PASSED
    assert worker.process.poll() is None
    assert [child.pid for child in worker.children()] == children
    assert not redis.exists("unacked", "unacked_index")
    log = worker.log.read_text()
    assert "messages dropped, the last: revalid." in log
    assert "Traceback" not in log
    assert log.count("message refused: job 0123456789abcdef") == len(QUEUES) * len(DOORBELLS)


@pytest.fixture
def full(client: Client) -> Iterator[Callable[[], object]]:
    """Yield a function that makes the broker full until the test ends."""
    yield lambda: client._redis.config_set("maxmemory", "1mb")
    client._redis.config_set("maxmemory", "0")


def test_a_worker_consumes_from_a_full_redis_also_after_it_connects_again(
    client: Client, start_worker: StartWorker, project: Path, full: Callable[[], object]
) -> None:
    worker = start_worker()
    running = client.submit(project, commands=["sleep 3"], sandbox="local")
    next(event for event in running.events() if event.type == "step_started")
    waiting = client.submit(project, commands=["true"], sandbox="local")
    full()
    client._redis.execute_command("CLIENT", "KILL", "TYPE", "normal")  # type: ignore[no-untyped-call]
    assert running.result(60).verdict is Verdict.PASSED
    assert waiting.result(60).verdict is Verdict.PASSED
    assert (running.status().attempts, waiting.status().attempts) == (1, 1)
    assert worker.process.poll() is None


def test_a_worker_survives_a_key_that_is_not_a_queue(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker, key = start_worker(), QUEUES[0]
    client._redis.set(key, "x")
    eventually(lambda: "server:ResponseError" in worker.log.read_text(), within_s=60)
    client._redis.delete(key)
    handle = client.submit(project, commands=["true"], sandbox="local")
    assert handle.result(60).verdict is Verdict.PASSED
    assert worker.process.poll() is None
