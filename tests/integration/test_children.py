"""A worker's parent ends hanging children, whoever has their lease."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from revalid.jobs.result import Verdict
from revalid.producer.client import Client, JobHandle
from tests.integration.conftest import StartWorker, Worker, eventually


def child_of(handle: JobHandle, worker: Worker) -> psutil.Process:
    """Return the process that has a job."""
    pid = int(handle.status().worker.rpartition(":")[2].partition("-")[0])
    return next(child for child in worker.children() if child.pid == pid)


@pytest.mark.slow
def test_hung_child_is_ended_also_where_another_worker_took_its_lease(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    hangs = client.submit(project, commands=["sleep 600"], sandbox="local")
    next(event for event in hangs.events() if event.type == "step_started")
    child = child_of(hangs, worker)
    os.kill(child.pid, signal.SIGSTOP)
    # As another worker's reaper: this one hears nothing of it.
    assert client._ledger.abandon(hangs.status().worker) == hangs.id
    assert hangs.cancel() == "queued"
    eventually(lambda: not child.is_running(), within_s=40)
    assert client.submit(project, commands=["true"], sandbox="local").result(60).verdict == "passed"
    assert worker.process.poll() is None


def test_child_past_its_hard_limit_is_ended_also_where_it_keeps_its_lease(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    handle = client.submit(project, commands=["sleep 600"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    child = child_of(handle, worker)
    client._redis.hset(f"revalid:job:{handle.id}", "limit_s", "1")
    eventually(lambda: not child.is_running())
    client._redis.hset(f"revalid:job:{handle.id}", "limit_s", "600")
    eventually(lambda: handle.status().attempts == 2)
    handle.cancel()
    assert handle.result(30).verdict is Verdict.CANCELLED


STRUCK = """
import sys
from time import sleep

import psutil
from celery.signals import worker_ready
from revalid.worker.__main__ import main
from revalid.worker.children import pool_children

@worker_ready.connect(weak=False)
def strike(**_):
    (child,) = pool_children().values()
    child.kill()
    while child.status() != psutil.STATUS_ZOMBIE:
        sleep(0.01)

sys.exit(main())
"""


def test_a_child_that_ends_as_its_worker_starts_is_replaced(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker(STRUCK)
    assert client.submit(project, commands=["true"], sandbox="local").result(60).verdict == "passed"
    assert worker.process.poll() is None
