"""Rows 19 and 24: the broker's memory is full, or one tenant tries to fill it."""

import os
import time
from pathlib import Path
from typing import cast

import pytest

from revalid.jobs.errors import BrokerUnavailable, StoreFull, UnknownJob
from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client, JobHandle
from revalid.producer.submission import prepare
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import assert_recorded_once, await_event, counted, runs, since
from tests.faults.fleet import Broker, Fleet, eventually

STEPS = [{"op": "exec", "command": "echo later"}]


@pytest.mark.row(19)
def test_store_full(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    worker = fleet.start()
    marks = short / "marks"
    handle = submit(counted("sleep 3; echo end >> " + str(marks), marks))
    await_event(handle, "step_started")
    client._redis.config_set("maxmemory", "1mb")
    full = time.monotonic()
    with (
        prepare(client.settings, None, steps=STEPS, sandbox="local") as submission,
        pytest.raises(BrokerUnavailable, match="is full"),
    ):
        client.send(submission)
    erred = since(full)
    with pytest.raises(UnknownJob):
        client.job(submission.job.id).status()
    eventually(lambda: runs(marks) == 2, awaited="the running job's end")
    full_state = handle.status().state
    while since(full) < 4.5:  # the fault itself: it lasts longer than the job
        assert worker.alive
        time.sleep(0.1)
    client._redis.config_set("maxmemory", "0")
    room = time.monotonic()
    assert handle.result(60).attempts == 1
    stored = since(room)
    assert_recorded_once(handle)
    assert runs(marks) == 2, "one run, which marks its start and its end"
    with prepare(client.settings, None, steps=STEPS, sandbox="local") as submission:
        again = client.send(submission)
    assert again.outcome is SubmitOutcome.NEW
    assert again.result(60).verdict == "passed"
    assert worker.alive
    proved(
        f"submit refused as full after {erred:.1f} s, nothing recorded of it; the running job "
        f"({full_state} while full) recorded once {stored:.1f} s after there was room; "
        "worker alive"
    )


@pytest.mark.row(24)
def test_one_tenant_fills_the_store(
    broker: Broker, fleet: Fleet, short: Path, proved: Proved
) -> None:
    settings = load_settings({}, env_file=None, broker_url=broker.url, tenant_blob_bytes=2**20)
    project = short / "project"
    project.mkdir()

    def submit(client: Client, tenant: str) -> JobHandle:
        (project / "noise").write_bytes(os.urandom(100_000))
        return client.submit(project, commands=["true"], sandbox="local", tenant=tenant)

    with Client(settings) as client:
        accepted: list[JobHandle] = []
        with pytest.raises(StoreFull, match="REVALID_TENANT_BLOB_BYTES"):
            while len(accepted) < 20:
                accepted.append(submit(client, "loud"))
                accepted[-1].cancel()
        stored = int(client._redis.hget("revalid:usage", "loud") or 0)
        assert stored <= 2**20
        fleet.start()
        assert submit(client, "quiet").result(60).verdict == "passed"
        ended = cast("list[str]", client._redis.zrange("revalid:projects", 0, -1))
        client._redis.zadd("revalid:projects", dict.fromkeys(ended, 1))  # a minute, cut short
        eventually(lambda: not client._redis.exists("revalid:usage"), awaited="room")
        assert len(client._redis.keys("revalid:blob:*")) == 0
        assert submit(client, "loud").result(60).verdict == "passed"
    proved(
        f"refused at {stored} bytes of 1048576, after {len(accepted)} uploads whose jobs were "
        "cancelled at once; another tenant's job ran; a worker made room"
    )
