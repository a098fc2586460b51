"""Rows 1, 3, 4, 12, 13, 17: workers that are killed, frozen or stopped, or have a wrong clock."""

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.producer.client import Client, JobHandle
from tests.faults.cli import revalid
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import assert_recorded_once, await_event, counted, runs, since, types
from tests.faults.fleet import Fleet, Worker, eventually


def two(fleet: Fleet) -> None:
    """Start two workers at once."""
    for worker in [fleet.start(wait=False), fleet.start(wait=False)]:
        fleet.await_ready(worker)


def owner(handle: JobHandle, fleet: Fleet) -> Worker:
    """Return the worker that has a job."""
    owner_pids = set(re.findall(r":(\d+)-", handle.status().worker))
    for worker in fleet.workers:
        pids = [worker.process.pid, *(child.pid for child in worker.children())]
        if owner_pids & set(map(str, pids)):
            return worker
    raise AssertionError(f"no worker is {handle.status().worker!r}")


def end_lease(handle: JobHandle) -> None:
    """End a job's lease now instead of in half a minute."""
    handle.client._redis.zadd("revalid:running", {handle.id: 0})


@pytest.mark.row(1)
@pytest.mark.parametrize(
    "real",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["lease cut short", "whole lease"],
)
def test_worker_killed(
    fleet: Fleet, submit: Submit, short: Path, proved: Proved, real: bool
) -> None:
    two(fleet)
    marks = short / "marks"
    handle = submit(counted(f"test $(wc -l < {marks}) = 2 || sleep 600", marks))
    eventually(lambda: runs(marks) == 1, awaited="its first run")
    owner(handle, fleet).kill()
    killed = time.monotonic()
    if not real:
        end_lease(handle)
    eventually(lambda: handle.status().attempts == 2, 45, awaited="the second claim")
    claimed = since(killed)
    assert handle.result(20).attempts == 2
    assert_recorded_once(handle)
    assert runs(marks) == 2
    lease = "whole lease" if real else "lease cut short"
    proved(f"{lease}: the other worker claimed after {claimed:.1f} s, 1 result, attempt 2")


@pytest.mark.row(3)
def test_child_killed(fleet: Fleet, submit: Submit, short: Path, proved: Proved) -> None:
    worker = fleet.start()
    marks = short / "marks"
    handle = submit(counted(f"test $(wc -l < {marks}) = 2 || sleep 600", marks))
    eventually(lambda: runs(marks) == 1, awaited="its first run")
    (child,) = worker.children()
    child.kill()
    killed = time.monotonic()
    eventually(lambda: handle.status().attempts == 2, 45, awaited="the second claim")
    claimed = since(killed)
    assert handle.result(20).attempts == 2
    assert_recorded_once(handle)
    assert worker.alive
    assert claimed <= 10, f"claimed again after {claimed:.1f} s"
    proved(f"claimed again after {claimed:.1f} s, attempt 2, 1 result")


@pytest.mark.row(4)
@pytest.mark.slow
def test_poison_job(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    worker = fleet.start()
    started = time.monotonic()
    poison = submit(counted("kill -9 $PPID; sleep 600", short / "marks"))
    other = submit()
    assert other.result(60).verdict is Verdict.PASSED
    eventually(
        lambda: poison.status().state is JobState.DONE, 45, awaited="the end of the poison job"
    )
    ended = since(started)
    assert_recorded_once(poison, Verdict.ERRORED)
    assert (poison.status().attempts, runs(short / "marks")) == (3, 3)
    assert submit().result(30).verdict is Verdict.PASSED
    assert worker.alive
    assert poison.id in revalid(client.url, "dead", "list")
    proved(
        f"dead after 3 attempts in {ended:.1f} s, listed by `revalid dead list`; 2 others passed"
    )


@pytest.mark.row(12)
def test_zombie_worker(fleet: Fleet, submit: Submit, short: Path, proved: Proved) -> None:
    two(fleet)
    pids = short / "pids"
    handle = submit(f"echo $$ >> {pids}; test $(wc -l < {pids}) = 2 || exec sleep 600")
    await_event(handle, "step_started")
    eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
    zombie, stale = owner(handle, fleet), int(pids.read_text())
    zombie.freeze()
    frozen = time.monotonic()
    end_lease(handle)
    eventually(lambda: handle.status().attempts == 2, 45, awaited="the second claim")
    claimed = since(frozen)
    handle.result(20)
    before = types(handle)
    assert psutil.pid_exists(stale)
    zombie.thaw()
    stopped = eventually(
        lambda: not psutil.pid_exists(stale), 10, awaited="the zombie's command's end"
    )
    eventually(lambda: zombie.logged("lost its lease"), 10, awaited="the refusal")
    assert types(handle) == before, "a stale attempt's events are refused"
    assert_recorded_once(handle)
    assert owner(handle, fleet) is not zombie
    proved(
        f"frozen, claimed by the other after {claimed:.1f} s; thawed: refused, "
        f"its command ended {stopped:.1f} s later, 1 result, attempt 2"
    )


SKEWED = """
import datetime, os, time
_shift = float(os.environ["FAULTS_SHIFT_S"])
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + int(_shift * 1e9)

class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=_shift)

datetime.datetime = _Datetime
"""


@pytest.mark.row(13)
@pytest.mark.slow
def test_clock_skew(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    patch = short / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SKEWED)
    path = os.pathsep.join([str(patch), *filter(None, [os.environ.get("PYTHONPATH")])])
    shifts = (3_600, -3_600)
    for shift in shifts:
        fleet.start(wait=False, PYTHONPATH=path, FAULTS_SHIFT_S=str(shift))
    for worker in fleet.workers:
        fleet.await_ready(worker)
    marks = short / "marks"
    handles = [submit(counted("sleep 6", marks)) for _ in shifts]
    for handle in handles:
        await_event(handle, "step_started")
    assert {id(owner(handle, fleet)) for handle in handles} == set(map(id, fleet.workers))
    now = float(client._redis.time()[0])
    lease_seconds = [score / 1000 - now for _, score in client._redis.zscan_iter("revalid:running")]
    assert len(lease_seconds) == 2
    assert all(27 < seconds < 31.5 for seconds in lease_seconds), lease_seconds
    for handle in handles:
        handle.result(30)
        assert_recorded_once(handle)
        assert handle.status().attempts == 1
    assert runs(marks) == 2
    for worker, shift in zip(fleet.workers, shifts, strict=True):
        ahead = worker.lines()[-1].moment.timestamp() - time.time()
        assert abs(ahead - shift) < 60, "the patch has no effect"
    lost = submit("sleep 600")
    await_event(lost, "step_started")
    owner(lost, fleet).kill()
    end_lease(lost)
    claimed_after_s = eventually(
        lambda: lost.status().attempts == 2, 45, awaited="the second claim"
    )
    lost.cancel()
    leases = ", ".join(f"{seconds:.0f}" for seconds in lease_seconds)
    proved(
        f"workers at +1 h and -1 h: leases end in {leases} s by Redis's clock, 2 jobs of 6 s each "
        f"ran once; a killed one's job was claimed by the other after {claimed_after_s:.1f} s"
    )


@pytest.mark.row(17)
@pytest.mark.slow
def test_sigterm(fleet: Fleet, submit: Submit, proved: Proved) -> None:
    grace_s = 3
    stopping = fleet.start(REVALID_CONCURRENCY="2", REVALID_GRACE_S=str(grace_s))
    quick, long = submit("sleep 1.5"), submit("sleep 600")
    for handle in (quick, long):
        await_event(handle, "step_started")
    stopped_at = time.monotonic()
    os.kill(stopping.process.pid, signal.SIGTERM)
    stopping.condemned = True
    eventually(lambda: long.status().state is JobState.QUEUED, 20, awaited="the long job's return")
    returned = since(stopped_at)
    code = stopping.process.wait(30)
    exited = since(stopped_at)
    assert_recorded_once(quick)
    assert (quick.status().attempts, code) == (1, 0)
    fleet.start()
    eventually(lambda: long.status().attempts == 2, awaited="the second claim")
    assert long.status().released == 1
    long.cancel()
    assert long.result(10).verdict is Verdict.CANCELLED
    assert exited <= grace_s + 10, f"exit after {exited:.1f} s"
    proved(
        f"grace {grace_s} s: the short job passed, the long one went back after {returned:.1f} s, "
        f"exit 0 after {exited:.1f} s; the next worker had it"
    )
