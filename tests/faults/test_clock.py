"""Row 25: the broker's clock jumps while its workers' clocks do not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.producer.client import Client
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import assert_recorded_once, await_event, counted, runs, types
from tests.faults.fleet import Broker, Fleet, eventually

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
HOUR = 3_600
CLAIMED_S = 75
"""What was left of a lease, one lease more, and what a broker that is young may take."""

Set = Callable[[int], None]


@pytest.fixture
def set_clock(short: Path) -> Set:
    """Set the broker's clock ahead by some seconds."""

    def to(seconds: int) -> None:
        part = short / "clock.part"
        part.write_text(f"{seconds:+d}")
        part.replace(short / "clock")

    to(0)
    return to


@pytest.fixture
def broker(short: Path, set_clock: Set, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Yield a broker for one test, which sets its clock."""
    if LIBRARY is None:
        pytest.skip("NO LIBFAKETIME: install the package libfaketime")
    server = Broker(short)
    with monkeypatch.context() as around:
        around.setenv("LD_PRELOAD", str(LIBRARY))
        around.setenv("FAKETIME_TIMESTAMP_FILE", str(short / "clock"))
        around.setenv("FAKETIME_NO_CACHE", "1")
        around.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        server.start()
    yield server
    server.kill()


@pytest.mark.row(25)
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_brokers_clock_steps(
    client: Client, fleet: Fleet, submit: Submit, short: Path, set_clock: Set, proved: Proved
) -> None:
    condemned = fleet.start(REVALID_CONCURRENCY="2")
    marks = short / "marks"
    lost, cancelled = submit("sleep 600"), submit("sleep 600")
    for handle in (lost, cancelled):
        await_event(handle, "step_started")
    fleet.start(REVALID_CONCURRENCY="2")
    long_job = submit(counted(f"sleep {CLAIMED_S}", marks))
    await_event(long_job, "step_started")
    before = client._redis.time()[0]
    set_clock(-HOUR)
    eventually(lambda: client._redis.time()[0] < before - HOUR / 2, awaited="the step")
    condemned.kill()
    cancelled.cancel()
    back = eventually(lambda: lost.status().attempts == 2, CLAIMED_S, awaited="the second claim")
    eventually(lambda: cancelled.status().state is JobState.DONE, CLAIMED_S, awaited="the cancel")
    assert cancelled.status().verdict is Verdict.CANCELLED
    set_clock(0)
    eventually(lambda: client._redis.time()[0] >= before, awaited="the step")
    long_job.result(2 * CLAIMED_S)
    assert_recorded_once(long_job)
    assert (long_job.status().attempts, types(long_job).count("started"), runs(marks)) == (1, 1, 1)
    assert lost.status().attempts == 2
    lost.cancel()
    proved(
        f"an hour back: a killed worker's job was claimed after {back:.1f} s, its other was "
        "cancelled; an hour ahead: a living worker kept its job, 1 run"
    )
