"""Jobs through a real worker process."""

import os
from pathlib import Path

import pytest

from revalid.jobs.errors import JobNotPassed
from revalid.jobs.job import SandboxPolicy
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from revalid.jobs.result import Verdict
from revalid.producer.client import Client
from tests.integration.conftest import Site, StartWorker, eventually

KINDS = ["local", pytest.param("dagger", marks=pytest.mark.dagger)]


@pytest.mark.parametrize("kind", KINDS)
def test_job_runs_and_its_result_is_reused(site: Site, project: Path, kind: SandboxPolicy) -> None:
    commands = ["cat file", "echo out; echo err >&2; exit 3"]
    handle = site.client.submit(project, commands=commands, sandbox=kind, labels={"app": "one"})
    result = handle.result(60)
    assert handle.outcome is SubmitOutcome.NEW
    assert (result.verdict, result.sandbox.kind, result.attempts) == (Verdict.FAILED, kind, 1)
    assert [(s.exit_code, s.stdout, s.stderr) for s in result.steps] == [
        (0, "content\n", ""),
        (3, "out\n", "err\n"),
    ]
    assert [event.type for event in handle.events()] == [
        "queued",
        "started",
        "sandbox",
        "plan",
        "step_started",
        "output",
        "step_finished",
        "step_started",
        "output",
        "output",
        "step_finished",
        "finished",
    ]
    digest = result.sandbox.image_digest
    assert digest is None if kind == "local" else str(digest).startswith("sha256:")
    again = site.client.submit(project, commands=commands, sandbox=kind)
    asks_a_worker = kind == "local"  # it compares its programs
    assert again.outcome is (SubmitOutcome.NEW if asks_a_worker else SubmitOutcome.REUSED)
    assert again.result(30).reused
    assert site.client.submit(project, commands=commands, sandbox=kind, fresh=True).id != handle.id


@pytest.mark.parametrize("kind", KINDS)
def test_running_job_is_cancelled(site: Site, project: Path, kind: SandboxPolicy) -> None:
    handle = site.client.submit(project, commands=["echo first", "sleep 600"], sandbox=kind)
    started = (e for e in handle.events() if e.type == "step_started" and e.data["index"] == 1)
    next(started)
    assert handle.cancel() is JobState.RUNNING
    result = handle.result(30)
    assert result.verdict is Verdict.CANCELLED
    assert [step.stdout for step in result.steps] == ["first\n", ""]
    assert (
        site.client.submit(project, commands=["true"], sandbox=kind).result(30).verdict == "passed"
    )


@pytest.mark.dagger
def test_unknown_image_is_rejected_and_a_silent_registry_is_not(site: Site, project: Path) -> None:
    unknown = site.client.submit(
        project, commands=["true"], sandbox="dagger", image="node:no-such-tag"
    )
    assert unknown.result(60).verdict is Verdict.REJECTED
    silent = site.client.submit(
        project, commands=["true"], sandbox="dagger", image="127.0.0.1:1/a:1"
    )
    result = silent.result(60)
    assert result.verdict is Verdict.ERRORED
    assert "check the registry" in str(result.error)


def test_doorbell_of_an_unknown_version_is_dropped(site: Site) -> None:
    job_id = "0" * 32
    site.client._app.send_task(
        "revalid.validate",
        kwargs={"message": {"v": 2, "job_id": job_id}},
        queue="revalid.batch",
        task_id=job_id,
        ignore_result=True,
    )
    eventually(lambda: "message version 2 is not 1" in site.worker.log.read_text())


def test_doorbell_of_an_unknown_job_is_refused(site: Site) -> None:
    job_id = "1" * 32
    sent = site.client._app.send_task(
        "revalid.validate",
        kwargs={"message": {"v": 1, "job_id": job_id}},
        queue="revalid.batch",
        task_id=job_id,
    )
    with pytest.raises(JobNotPassed, match=r"^refused: job 1{20,}…$"):
        sent.get(timeout=20)
    assert "message refused" in site.worker.log.read_text()


def test_two_doorbells_run_a_job_once(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    handle = client.submit(project, commands=["echo once"], sandbox="local")
    again = client.submit(project, commands=["echo once"], sandbox="local")
    assert again.outcome is SubmitOutcome.JOINED
    start_worker()
    assert handle.result(30).attempts == 1
    eventually(lambda: not client._redis.llen("revalid.interactive"))
    assert [event.type for event in handle.events()].count("started") == 1


def test_revoked_task_is_a_cancelled_job(site: Site, project: Path) -> None:
    handle = site.client.submit(project, commands=["sleep 600"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    site.client._app.control.revoke(handle.id, terminate=True)
    assert handle.result(30).verdict is Verdict.CANCELLED


def test_environment_reaches_no_command(site: Site, project: Path) -> None:
    result = site.client.submit(project, commands=["env"], sandbox="local").result(30)
    assert "worker only" not in result.steps[0].stdout
    assert os.environ.get("HOME") not in result.steps[0].stdout.split("HOME=")[1].splitlines()
