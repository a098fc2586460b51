"""Row 19: the broker has no memory left."""

import time
from pathlib import Path

import pytest

from jobs.errors import BrokerUnavailable, UnknownJob
from jobs.record import Submitted
from producer.client import Client
from producer.submission import prepare
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import assert_recorded_once, await_event, counted, runs, since
from tests.faults.fleet import Fleet, eventually

STEPS = [{"op": "exec", "command": "echo later"}]


@pytest.mark.row(19)
def test_store_full(
    client: Client, fleet: Fleet, submit: Submit, short: Path, proved: Proved
) -> None:
    worker = fleet.start()
    marks = short / "marks"
    handle = submit(counted("sleep 3; echo end >> " + str(marks), marks))
    await_event(handle, "step_started")
    client.redis.config_set("maxmemory", "1mb")
    full = time.monotonic()
    with (
        prepare(client.settings, None, steps=STEPS, sandbox="local") as submission,
        pytest.raises(BrokerUnavailable, match="is full"),
    ):
        client.send(submission)
    erred = since(full)
    with pytest.raises(UnknownJob):
        client.job(submission.job.id).status()
    eventually(lambda: runs(marks) == 2, what="the running job's end")
    held = handle.status().state
    while since(full) < 4.5:  # the fault itself: it lasts longer than the job
        assert worker.alive
        time.sleep(0.1)
    client.redis.config_set("maxmemory", "0")
    room = time.monotonic()
    assert handle.result(60).attempts == 1
    stored = since(room)
    assert_recorded_once(handle)
    assert runs(marks) == 2, "one run, which marks its start and its end"
    with prepare(client.settings, None, steps=STEPS, sandbox="local") as submission:
        again = client.send(submission)
    assert again.submitted is Submitted.NEW
    assert again.result(60).verdict == "passed"
    assert worker.alive
    proved(
        f"submit refused as full after {erred:.1f} s, nothing recorded of it; the running job "
        f"({held} while full) recorded once {stored:.1f} s after there was room; worker alive"
    )
