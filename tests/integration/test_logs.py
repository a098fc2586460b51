"""Lines of a worker's log."""

import json
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.errors import JobNotPassed
from revalid.producer.client import Client
from tests.integration.conftest import StartWorker, Worker


def lines(worker: Worker) -> list[dict[str, Any]]:
    return [json.loads(line) for line in worker.log.read_text().splitlines()]


def test_json_lines_name_their_job(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker(REVALID_LOG_FORMAT="json")
    handle = client.submit(project, commands=["sleep 600"], sandbox="local", tenant="acme")
    next(event for event in handle.events() if event.type == "step_started")
    handle.cancel()
    handle.result(30)
    unknown = "1" * 32
    refused = client._app.send_task(
        "revalid.validate",
        kwargs={"message": {"v": 1, "job_id": unknown}},
        queue="revalid.batch",
        task_id=unknown,
    )
    with pytest.raises(JobNotPassed):
        refused.get(timeout=30)
    worker.process.terminate()
    worker.process.wait(30)
    entries = lines(worker)
    assert all({"event", "level", "logger", "timestamp", "pid"} <= {*line} for line in entries)
    (verdict,) = (line for line in entries if line["event"] == f"job {handle.id}: cancelled")
    assert (verdict["job_id"], verdict["attempt"], verdict["tenant"]) == (handle.id, 1, "acme")
    assert verdict["pid"] != worker.process.pid
    (ended,) = (
        line
        for line in entries
        if line["logger"] == "celery.app.trace" and handle.id in line["event"]
    )
    assert ended["job_id"] == handle.id
    (other,) = (line for line in entries if line["event"].startswith("message refused"))
    assert "job_id" not in other, "a line after an attempt still names its job"


def test_text_is_the_default(client: Client, start_worker: StartWorker, project: Path) -> None:
    worker = start_worker()
    client.submit(project, commands=["true"], sandbox="local").result(30)
    text = worker.log.read_text()
    assert "ready." in text
    assert '"event"' not in text
    assert "\x1b" not in text
