"""Rows 21 to 23: hanging children, full disks, and garbage on a queue."""

import os
import signal
import time
from pathlib import Path

import pytest

from revalid.jobs.ledger.stats import MESSAGES_DROPPED
from revalid.jobs.ledger.workers import workers
from revalid.jobs.result import Verdict
from revalid.producer.client import Client
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import assert_recorded_once, await_event, since
from tests.faults.fleet import Fleet, eventually
from tests.integration.garbage import DOORBELLS, NO_DOORBELLS
from tests.worker.disks import small_disk


@pytest.mark.row(21)
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hung_children(client: Client, fleet: Fleet, submit: Submit, proved: Proved) -> None:
    for _ in range(3):
        fleet.start(wait=False, REVALID_CONCURRENCY="2")
    for worker in fleet.workers:
        fleet.await_ready(worker)
    hung = [submit("sleep 600") for _ in range(6)]
    for handle in hung:
        await_event(handle, "step_started")
    children = [child for worker in fleet.workers for child in worker.children()]
    assert len(children) == 6
    for child in children:
        os.kill(child.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    for handle in hung:
        client._redis.zadd("revalid:running", {handle.id: 0})  # whoever reaps first takes it
    for handle in hung:
        await_event(handle, "requeued")
        handle.cancel()
    eventually(lambda: not any(child.is_running() for child in children), 60, awaited="their end")
    freed = since(stopped)
    at_once = [submit("sleep 600") for _ in range(6)]
    for handle in at_once:
        await_event(handle, "step_started")
    assert [handle.status().state for handle in at_once] == ["running"] * 6, "six slots"
    for handle in at_once:
        handle.cancel()
    after = [submit() for _ in range(6)]
    assert [handle.result(60).verdict for handle in after] == [Verdict.PASSED] * 6
    assert all(worker.alive for worker in fleet.workers)
    proved(f"6 of 6 slots back {freed:.0f} s after the leases' end; 6 jobs ran at a time again")


@pytest.mark.row(21)
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_stopped_idle_children(fleet: Fleet, submit: Submit, proved: Proved) -> None:
    worker = fleet.start(REVALID_CONCURRENCY="2")
    for handle in [submit("sleep 1"), submit("sleep 1")]:
        assert handle.result(60).verdict is Verdict.PASSED
    children = worker.children()
    for child in children:
        os.kill(child.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    at_once = [submit("sleep 600"), submit("sleep 600")]
    for handle in at_once:
        await_event(handle, "step_started")
    freed = since(stopped)
    for handle in at_once:
        handle.cancel()
    assert not any(child.is_running() for child in children)
    assert worker.alive
    proved(f"idle and stopped: 2 of 2 slots back after {freed:.0f} s")


def _reasons(client: Client) -> list[str]:
    return [worker.reason for worker in workers(client._redis) if worker.reason]


@pytest.mark.row(22)
@pytest.mark.slow
def test_full_disk(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    with small_disk(short, 80 * 2**20) as disk:
        sick = fleet.start(wait=False, REVALID_CONCURRENCY="2", REVALID_SCRATCH=str(disk))
        fleet.start(wait=False)
        for worker in fleet.workers:
            fleet.await_ready(worker)
        with (disk / "filling").open("wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(2**20))
                file.flush()
        handles = [submit() for _ in range(40)]
        for handle in handles:
            assert handle.result(120).verdict is Verdict.PASSED
            assert_recorded_once(handle)
        faults = sum(handle._record().faults for handle in handles)
        eventually(lambda: _reasons(client), awaited="why it takes no jobs")
        error = _reasons(client)[0].partition(": ")[2]
        (disk / "filling").unlink()
        back = eventually(lambda: "takes jobs again" in sick.log.read_text(), awaited="its return")
        proved(
            f"40 of 40 jobs passed, 0 errored, {faults} attempts given back ({error}); "
            f"the worker took jobs again {back:.0f} s after there was room"
        )


@pytest.mark.row(23)
@pytest.mark.slow
def test_garbage(client: Client, fleet: Fleet, submit: Submit, proved: Proved) -> None:
    fleet.start(wait=False)
    fleet.start(wait=False)
    for worker in fleet.workers:
        fleet.await_ready(worker)
    everything = [*NO_DOORBELLS.values(), *DOORBELLS.values()]
    for _ in range(5):
        client._redis.lpush("revalid.interactive", *everything)
        assert submit().result(60).verdict is Verdict.PASSED
    expected = 5 * len(NO_DOORBELLS)
    eventually(
        lambda: client._ledger.stats().counters.get((MESSAGES_DROPPED,)) == expected,
        awaited="the count of what was dropped",
    )
    assert all(worker.alive for worker in fleet.workers)
    proved(
        f"{expected} messages that are none dropped and counted, {5 * len(DOORBELLS)} with more in "
        "them than a doorbell's without effect; 5 jobs between them passed, workers alive"
    )


@pytest.mark.row(23)
@pytest.mark.slow
def test_store_full_while_jobs_wait(
    client: Client, fleet: Fleet, submit: Submit, proved: Proved
) -> None:
    worker = fleet.start()
    handles = [submit("sleep 0.2") for _ in range(12)]
    await_event(handles[0], "step_started")
    client._redis.config_set("maxmemory", "1mb")
    client._redis.execute_command("CLIENT", "KILL", "TYPE", "normal")  # type: ignore[no-untyped-call]
    for handle in handles:
        assert handle.result(90).verdict is Verdict.PASSED
        assert_recorded_once(handle)
    assert worker.alive
    client._redis.config_set("maxmemory", "0")
    assert submit().result(60).verdict is Verdict.PASSED
    proved("Redis full, connections cut: 12 of 12 jobs that waited ran meanwhile, worker alive")
