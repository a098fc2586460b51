"""Every document of a real run: it matches its schema, and all say the same."""

import csv
import io
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import ValidationError

from revalid.jobs.ledger.deliveries import take
from revalid.jobs.ledger.webhook import decode_hook
from revalid.jobs.result import JobResult, Verdict
from revalid.producer.client import Client
from revalid.producer.report import Row, build, render
from tests.documents import validate
from tests.integration.conftest import StartWorker

COMMANDS = ["echo a", "exit 3", "echo b"]


def test_documents_of_a_real_run(client: Client, start_worker: StartWorker, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.txt").write_text("a")
    start_worker()
    handle = client.submit(
        project,
        commands=COMMANDS,
        sandbox="local",
        labels={"user": "7"},
        webhook="https://example.com/hook",
    )
    result = handle.result(60)
    assert (result.verdict, result.failed_step) == (Verdict.FAILED, "exit 3")
    document = result.model_dump(mode="json")
    validate("result", document)
    assert JobResult.model_validate(document) == result
    statuses = {step["name"]: step["status"] for step in document["steps"]}
    assert statuses["exit 3"] == "failed"
    with pytest.raises(ValidationError):
        validate("result", {**document, "failed_steps": "exit 3"})
    with pytest.raises(ValidationError):
        validate("result", {name: document[name] for name in document if name != "failed_step"})

    validate("job", json.loads(client._ledger.record(handle.id).job))

    events = list(handle.events())
    for event in events:
        validate("event", asdict(event))
    told = {e.data["name"]: e.data["status"] for e in events if e.type == "step_finished"}
    assert told == statuses

    (delivery,) = take(client._ledger, 10, lease_s=60)
    payload = json.loads(delivery.body(decode_hook(delivery.hook, handle.id, None)))
    validate("webhook", payload)
    times = {name: document[name] for name in ("verdict", "failed_step", "duration_s", "queued_s")}
    assert {name: payload["data"][name] for name in times} == times

    now = datetime.now(UTC)
    row = Row.of("a", result)
    report = build(id="b", name="apps", created_at=now, finished_at=now, rows=[row])
    for batch in (report.document(), report.document(steps=False)):
        validate("batch", batch)
        assert {name: batch["jobs"][0][name] for name in times} == times
    assert {s["name"]: s["status"] for s in report.document()["jobs"][0]["steps"]} == statuses
    (line,) = csv.DictReader(io.StringIO(render(report, "csv")))
    assert {name: line[name] for name in times} == {name: str(times[name]) for name in times}
    junit = ElementTree.fromstring(render(report, "junit"))  # noqa: S314 -- ours
    suite = junit.find("testsuite")
    assert suite is not None
    facts = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert {name: facts[name] for name in times} == {name: str(times[name]) for name in times}
    assert {case.get("name"): case.get("status") for case in suite.iter("testcase")} == statuses
