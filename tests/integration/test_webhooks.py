"""Real workers that call a web backend back."""

import threading
from pathlib import Path

from revalid.jobs.result import Verdict
from revalid.producer.client import Client
from tests.integration.conftest import StartWorker, eventually
from tests.worker.receivers import KEY, receiver

SETTINGS = {
    "REVALID_WEBHOOK_KEY": KEY.get_secret_value(),
    "REVALID_WEBHOOK_ALLOW": "127.0.0.1",
}


def test_a_backend_is_told_of_each_verdict_although_another_hangs(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    hung = threading.Event()
    settings = client.settings.model_copy(update={"webhook_allow": ("127.0.0.1",)})
    try:
        with receiver([500]) as there, receiver() as hangs, Client(settings) as backend:
            hangs.before_response = hung.wait
            waits = backend.submit(project, commands=["true"], webhook=hangs.url())
            waits.cancel()  # there is no worker yet
            worker = start_worker(**SETTINGS)
            eventually(lambda: hangs.calls)
            handle = backend.submit(
                project,
                commands=["echo out", "exit 3"],
                sandbox="local",
                labels={"user": "7"},
                webhook=there.url(),
            )
            result = handle.result(30)
            assert result.verdict is Verdict.FAILED
            eventually(lambda: len(there.calls) == 2)  # after a 500
            first, second = there.documents()
            hung.set()
    finally:
        hung.set()
    assert first == second
    assert first["data"] == {
        "id": handle.id,
        "verdict": "failed",
        "failed_step": "exit 3",
        "duration_s": result.duration_s,
        "queued_s": result.queued_s,
        "labels": {"user": "7"},
    }
    assert worker.process.poll() is None
    log = worker.log.read_text()
    assert f"job {handle.id}: webhook" in log
    assert KEY.get_secret_value() not in log


def test_what_one_worker_left_another_delivers(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    settings = client.settings.model_copy(update={"webhook_allow": ("127.0.0.1",)})
    with receiver() as there, Client(settings) as backend:
        without = start_worker()  # it has no key, and so delivers nothing
        handle = backend.submit(project, commands=["true"], sandbox="local", webhook=there.url())
        assert handle.result(30).verdict is Verdict.PASSED
        without.process.kill()
        assert there.calls == []
        start_worker(**SETTINGS)
        eventually(lambda: there.calls)
        (document,) = there.documents()
    assert document["data"]["verdict"] == "passed"
