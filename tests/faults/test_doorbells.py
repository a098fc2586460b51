"""Rows 9 to 11 and 28: the broker's data are wiped; doorbells are lost or ring twice."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from revalid.jobs.errors import RevalidError, UnknownJob
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from revalid.producer.client import Client
from tests.faults.cli import revalid
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import (
    assert_recorded_once,
    await_event,
    counted,
    runs,
    since,
    text_list,
    types,
)
from tests.faults.fleet import Fleet, eventually

QUEUE = "revalid.interactive"


class Waiter(threading.Thread):
    """Runs a call in a thread and keeps the error that it raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.error: RevalidError | None = None
        self.start()

    def run(self) -> None:
        """Run the call and keep its error."""
        try:
            self._work()
        except RevalidError as error:
            self.error = error


@pytest.mark.row(9)
@pytest.mark.slow
def test_data_wiped(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    worker = fleet.start(REVALID_CONCURRENCY="2")
    turn, options = short / "turn", {"fresh": False}
    command = f"if mkdir {turn} 2>/dev/null; then sleep 5; echo old; else sleep 9; echo new; fi"
    handle = submit(command, **options)
    await_event(handle, "step_started")
    waiters = [Waiter(lambda: handle.result(60)), Waiter(lambda: list(handle.events()))]
    eventually(turn.exists)
    client._redis.flushall()
    wiped = time.monotonic()
    for waiter in waiters:
        waiter.join(15)
        assert not waiter.is_alive(), "a follower hangs"
        assert isinstance(waiter.error, UnknownJob), waiter.error
    erred = since(wiped)
    printed = revalid(client.url, "status", handle.id, expect=2)
    assert printed == ""
    again = submit(command, **options)
    assert (again.id, again.outcome) == (handle.id, SubmitOutcome.NEW)
    result = again.result(60)
    assert result.steps[0].stdout == "new\n", "an attempt from before the loss recorded its result"
    assert_recorded_once(again)
    assert types(again).count("started") == 1
    assert submit().result(30).verdict == "passed"
    assert worker.alive
    proved(
        f"followers got UnknownJob within {erred:.1f} s; the same submit ran anew, the old "
        f"attempt recorded nothing; worker alive"
    )


@pytest.mark.slow
@pytest.mark.row(9)
def test_data_wiped_and_submitted_at_once(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    """The old attempt had no heartbeat when the new one claims: only the fence differs."""
    fleet.start(REVALID_CONCURRENCY="2")
    assert submit().result(30).verdict == "passed"
    turn, options = short / "turn", {"fresh": False}
    command = f"if mkdir {turn} 2>/dev/null; then sleep 3; echo old; else sleep 6; echo new; fi"
    handle = submit(command, **options)
    eventually(turn.exists)
    client._redis.flushall()
    again = submit(command, **options)
    assert again.id == handle.id
    result = again.result(90)
    assert result.steps[0].stdout == "new\n", "an attempt from before the loss recorded its result"
    assert_recorded_once(again)
    proved("submitted again at once: the new attempt's result is recorded, not the old one's")


@pytest.mark.row(10)
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_lost_doorbells(client: Client, fleet: Fleet, submit: Submit, proved: Proved) -> None:
    """All doorbells of an idle queue are lost, then one of several behind a running job."""
    idle = submit()
    assert client._redis.delete(QUEUE)
    lost = time.monotonic()
    fleet.start()
    eventually(
        lambda: idle.status().state is JobState.DONE, 60, awaited="the job whose doorbell is lost"
    )
    alone = since(lost)
    blocker = submit("sleep 600")
    await_event(blocker, "step_started")
    behind = [submit() for _ in range(3)]
    messages = text_list(client._redis, "LRANGE", QUEUE, 0, -1)
    (message,) = [text for text in messages if behind[1].id in text]
    assert client._redis.lrem(QUEUE, 0, message) == 1
    blocker.cancel()
    lost = time.monotonic()
    eventually(
        lambda: all(h.status().state is JobState.DONE for h in behind), 60, awaited="the others"
    )
    among = since(lost)
    for handle in (idle, *behind):
        assert_recorded_once(handle)
        assert handle.status().attempts == 1
    assert max(alone, among) <= 45
    proved(f"alone: done {alone:.1f} s after its loss; one of three: {among:.1f} s")


@pytest.mark.row(11)
@pytest.mark.slow
def test_doorbell_twice(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    handle = submit(counted("sleep 2", short / "marks"))
    (message,) = text_list(client._redis, "LRANGE", QUEUE, 0, -1)
    client._redis.lpush(QUEUE, message, message)
    fleet.start(REVALID_CONCURRENCY="2")
    assert handle.result(30).attempts == 1
    client._redis.lpush(QUEUE, message)

    def drained() -> bool:
        remaining = client._redis.llen(QUEUE), client._redis.hlen("unacked")
        return remaining == (0, 0)

    eventually(drained, awaited="the end of the duplicates")
    assert submit().result(30).verdict == "passed"
    assert_recorded_once(handle)
    assert (types(handle).count("started"), runs(short / "marks")) == (1, 1)
    proved("rung 3 times at once and once after its end: 1 run, 1 result, nothing left unacked")


@pytest.mark.row(28)
@pytest.mark.slow
def test_a_killed_worker_leaves_nothing_on_the_broker(
    client: Client, fleet: Fleet, submit: Submit, proved: Proved
) -> None:
    dead = fleet.start(REVALID_CONCURRENCY="2")
    handle = submit("sleep 600")
    await_event(handle, "step_started")
    dead.kill()
    assert client._redis.exists("unacked", "unacked_index") == 0
    keys = [str(key) for key in client._redis.keys("_kombu.binding*")]
    assert [key for key in keys if "reply" not in key] == []
    fleet.start()
    assert submit().result(30).verdict == "passed"
    proved("no message is left unacknowledged, and no binding")
