"""Webhooks of real workers to a web backend."""

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


def test_a_backend_gets_each_verdict_while_another_hangs(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    hung = threading.Event()
    settings = client.settings.model_copy(update={"webhook_allow": ("127.0.0.1",)})
    try:
        with receiver([500]) as server, receiver() as hanging, Client(settings) as backend:
            hanging.before_response = hung.wait
            waits = backend.submit(project, commands=["true"], webhook=hanging.url())
            waits.cancel()  # there is no worker yet
            worker = start_worker(**SETTINGS)
            eventually(lambda: hanging.calls)
            handle = backend.submit(
                project,
                commands=["echo out", "exit 3"],
                sandbox="local",
                labels={"user": "7"},
                webhook=server.url(),
            )
            result = handle.result(30)
            assert result.verdict is Verdict.FAILED
            eventually(lambda: len(server.calls) == 2)  # after a 500
            first_document, second_document = server.documents()
            hung.set()
    finally:
        hung.set()
    assert first_document == second_document
    assert first_document["data"] == {
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


def test_another_worker_delivers_pending_webhooks(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    settings = client.settings.model_copy(update={"webhook_allow": ("127.0.0.1",)})
    with receiver() as server, Client(settings) as backend:
        without = start_worker()  # it has no key, and so delivers nothing
        handle = backend.submit(project, commands=["true"], sandbox="local", webhook=server.url())
        assert handle.result(30).verdict is Verdict.PASSED
        without.process.kill()
        assert server.calls == []
        start_worker(**SETTINGS)
        eventually(lambda: server.calls)
        (document,) = server.documents()
    assert document["data"]["verdict"] == "passed"
