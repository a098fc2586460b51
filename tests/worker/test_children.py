"""A parent ends children that work on a job that is not theirs, or for too long."""

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
from celery.worker import state
from redis import Redis

from revalid.jobs.ledger.ledger import Ledger
from revalid.worker import children as module
from revalid.worker.children import Children
from revalid.worker.process_names import process_name
from tests.jobs.samples import make_job

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)", "spawn_main"]


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """A process to which Celery has just given ``make_job()``."""
    monkeypatch.setattr(module, "STRAY_S", 0.0)
    with subprocess.Popen(SLEEPS) as process:
        request = SimpleNamespace(worker_pid=process.pid, id=make_job().id, time_start=1.0)
        monkeypatch.setattr(state, "active_requests", [request])
        yield psutil.Process(process.pid)
        process.kill()


@pytest.fixture
def ledger(redis: Redis, child: psutil.Process) -> Ledger:
    """A ledger in which the child holds the job."""
    made = Ledger(redis)
    made.submit(make_job(), "revalid.batch")
    assert made.claim(make_job().id, process_name(child.pid))
    return made


def ended(child: psutil.Process) -> bool:
    try:
        child.wait(0.2)
    except psutil.TimeoutExpired:
        return False
    return True


def test_a_child_that_holds_its_job_is_left_alone(ledger: Ledger, child: psutil.Process) -> None:
    parent = Children(ledger)
    for _ in range(3):
        parent.check(trusted=True)
    assert not ended(child)


def test_a_child_that_lost_its_job_is_ended(ledger: Ledger, child: psutil.Process) -> None:
    parent = Children(ledger)
    parent.check(trusted=True)
    assert ledger.abandon(process_name(child.pid)) == make_job().id
    parent.check(trusted=True)
    assert ended(child)


def test_an_idle_child_that_stays_stopped_is_ended(
    redis: Redis, child: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "active_requests", [])
    parent = Children(Ledger(redis))
    parent.check(trusted=True)
    assert not ended(child)
    child.suspend()
    for _ in range(2):
        parent.check(trusted=True)
    assert ended(child)


def test_a_child_that_holds_another_job_is_ended(
    ledger: Ledger, child: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = SimpleNamespace(worker_pid=child.pid, id="f" * 32, time_start=2.0)
    monkeypatch.setattr(state, "active_requests", [request])
    parent = Children(ledger)
    parent.check(trusted=True)
    parent.check(trusted=True)
    assert ended(child)


def test_a_child_past_its_limit_is_ended_and_its_job_returned(
    ledger: Ledger, child: psutil.Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE_S", 0.0)
    redis.hset(f"revalid:job:{make_job().id}", "limit_s", 0)
    parent = Children(ledger)
    parent.check(trusted=True)
    parent.check(trusted=True)
    assert ended(child)
    parent.check(trusted=True)
    assert ledger.record(make_job().id).state == "queued"


def test_no_child_is_ended_while_celerys_list_is_not_current(
    ledger: Ledger, child: psutil.Process
) -> None:
    parent = Children(ledger)
    parent.check(trusted=True)
    ledger.abandon(process_name(child.pid))
    parent.check(trusted=False)
    parent.check(trusted=False)
    assert not ended(child)


def test_an_outage_of_redis_restarts_the_periods(
    ledger: Ledger, child: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STRAY_S", 60.0)
    parent = Children(ledger)
    parent.check(trusted=True)
    ledger.abandon(process_name(child.pid))
    monkeypatch.setattr(module, "monotonic", lambda: 1e9)
    parent.restart_clocks()
    parent.check(trusted=True)
    assert not ended(child)
    monkeypatch.setattr(module, "monotonic", lambda: 1e9 + 61)
    parent.check(trusted=True)
    assert ended(child)
