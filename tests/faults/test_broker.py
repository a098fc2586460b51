"""Rows 5 to 8: the broker's connections are cut; it dies, stays away, or freezes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from revalid.jobs.errors import BrokerUnavailable
from revalid.producer.client import Client, JobHandle
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import assert_recorded_once, await_event, counted, runs, since, types
from tests.faults.fleet import Broker, Fleet, eventually

DOWN_S = 30
"""Fifteen times as long as the job, and as long as a lease."""

FROZEN_S = 40
"""Longer than a lease and than every timeout of a connection."""


@pytest.fixture
def broker(short: Path) -> Iterator[Broker]:
    """Yield a broker for one test, which may harm it."""
    server = Broker(short)
    server.start()
    yield server
    server.kill()


def until_done(fleet: Fleet, handle: JobHandle) -> float:
    """Return the seconds until a job has its verdict; workers that ended are restarted."""

    def is_done() -> bool:
        fleet.keep_up()
        return handle.status().state == "done"

    return eventually(is_done, 60, awaited=f"the end of job {handle.id}")


def usable_again(fleet: Fleet, submit: Submit) -> float:
    """Return the seconds until a new job has passed."""
    after = submit()

    took = until_done(fleet, after)
    assert_recorded_once(after)
    return took


def outcome(fleet: Fleet) -> str:
    """Return what happened to the worker."""
    noise = fleet.logs().count("Traceback (most recent call last)")
    alive = f"worker ended with {fleet.exits} and was restarted" if fleet.exits else "worker alive"
    return f"{alive}, {noise} tracebacks in its log"


@pytest.mark.row(5)
@pytest.mark.slow
def test_cut_connections(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    fleet.start()
    handle = submit(counted("sleep 3", short / "marks"))
    await_event(handle, "step_started")
    cut = 0
    for kind in ("normal", "pubsub"):
        cut += int(client._redis.client_kill_filter(_type=kind, skipme=True))
    assert cut > 0
    handle.result(30)
    again = usable_again(fleet, submit)
    assert_recorded_once(handle)
    assert (handle.status().attempts, types(handle).count("started")) == (1, 1)
    assert runs(short / "marks") == 1
    proved(f"{cut} connections cut, 1 run, 1 result; next job {again:.1f} s; {outcome(fleet)}")


@pytest.mark.row(6)
def test_broker_killed_and_restarted(
    broker: Broker, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    fleet.start()
    handle = submit(counted("sleep 4", short / "marks"))
    await_event(handle, "step_started")
    broker.kill()
    time.sleep(1)  # the fault itself: a second without a broker
    broker.start()
    until_done(fleet, handle)
    again = usable_again(fleet, submit)
    assert_recorded_once(handle)
    assert (handle.status().attempts, runs(short / "marks")) == (1, 1)
    proved(f"1 s down: 1 run, 1 result; next job {again:.1f} s; {outcome(fleet)}")


@pytest.mark.row(7)
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_broker_down_longer_than_the_job(
    broker: Broker, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    fleet.start()
    handle = submit(counted("sleep 2", short / "marks"))
    await_event(handle, "step_started")
    broker.kill()
    down = time.monotonic()
    while since(down) < DOWN_S:
        fleet.keep_up()
        time.sleep(0.1)  # the fault itself
    broker.start()
    stored = until_done(fleet, handle)
    again = usable_again(fleet, submit)
    assert_recorded_once(handle)
    assert (handle.status().attempts, runs(short / "marks")) == (1, 1)
    proved(
        f"{DOWN_S} s down: result stored {stored:.1f} s after the return, 1 run, 1 result; "
        f"next job {again:.1f} s; {outcome(fleet)}"
    )


@pytest.mark.row(7)
@pytest.mark.slow
def test_result_outlives_broker_and_worker(
    broker: Broker, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    """The job ends while the broker is away, and its worker is killed afterwards."""
    worker = fleet.start()
    marks = short / "marks"
    handle = submit(counted(f"sleep 2; echo end >> {marks}", marks))
    await_event(handle, "step_started")
    broker.kill()
    unrecorded = worker.home / "unrecorded"
    eventually(
        lambda: [f for f in unrecorded.rglob("*") if f.is_file()], awaited="the result on disk"
    )
    worker.kill()
    broker.start()
    fleet.start(home=worker.home, wait=False)
    stored = eventually(lambda: handle.status().state == "done", 45, awaited="the job's end")
    again = usable_again(fleet, submit)
    assert_recorded_once(handle)
    assert (handle.status().attempts, runs(marks)) == (1, 2), "one run, which marks start and end"
    assert not [f for f in unrecorded.rglob("*") if f.is_file()]
    proved(
        f"and the worker killed: one in its home recorded the result {stored:.1f} s after its "
        f"start, 1 run; next job {again:.1f} s"
    )


@pytest.mark.row(8)
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_broker_frozen(
    broker: Broker, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    fleet.start()
    handle = submit(counted("sleep 2", short / "marks"))
    await_event(handle, "step_started")
    broker.freeze()
    frozen = time.monotonic()
    try:
        with pytest.raises(BrokerUnavailable) as caught:
            submit()
        erred = since(frozen)
        while since(frozen) < FROZEN_S:
            time.sleep(0.1)  # the fault itself
    finally:
        broker.thaw()
    again = usable_again(fleet, submit)
    until_done(fleet, handle)
    assert_recorded_once(handle)
    assert "cannot be reached" in str(caught.value)
    assert runs(short / "marks") == 1
    assert erred <= 10, (
        f"the producer erred after {erred:.1f} s; a new job ended {again:.1f} s after the thaw"
    )
    proved(
        f"{FROZEN_S} s frozen: producer erred after {erred:.1f} s, a new job ended {again:.1f} s "
        f"after the thaw, 1 run; {outcome(fleet)}"
    )
