"""Jobs through a real worker process."""

import os
from pathlib import Path

import pytest

from jobs.record import State, Submitted
from jobs.result import JobResult, Verdict
from producer.client import Client
from tests.conftest import RUNNER_HOST
from tests.integration.conftest import StartWorker, eventually
from worker.outbox import Outbox

KINDS = ["local", pytest.param("dagger", marks=pytest.mark.dagger)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "file").write_text("content\n")
    return directory


@pytest.mark.parametrize("kind", KINDS)
def test_job_runs_and_its_result_is_reused(
    client: Client, start_worker: StartWorker, project: Path, kind: str
) -> None:
    start_worker()
    commands = ["cat file", "echo out; echo err >&2; exit 3"]
    handle = client.submit(project, commands=commands, sandbox=kind, labels={"app": "one"})
    result = handle.result(60)
    assert handle.submitted is Submitted.NEW
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
    again = client.submit(project, commands=commands, sandbox=kind)
    assert again.submitted is Submitted.REUSED
    assert again.result(5).reused
    assert client.submit(project, commands=commands, sandbox=kind, fresh=True).id != handle.id


@pytest.mark.parametrize("kind", KINDS)
def test_running_job_is_cancelled(
    client: Client, start_worker: StartWorker, project: Path, kind: str
) -> None:
    start_worker()
    handle = client.submit(project, commands=["echo first", "sleep 600"], sandbox=kind)
    started = (e for e in handle.events() if e.type == "step_started" and e.data["index"] == 1)
    next(started)
    assert handle.cancel() is State.RUNNING
    result = handle.result(30)
    assert result.verdict is Verdict.CANCELLED
    assert [step.stdout for step in result.steps] == ["first\n", ""]
    assert client.submit(project, commands=["true"], sandbox=kind).result(30).verdict == "passed"


@pytest.mark.parametrize("kind", KINDS)
def test_killed_child_leaves_nothing_and_its_job_is_done_again(
    client: Client, start_worker: StartWorker, project: Path, kind: str
) -> None:
    worker = start_worker()
    marker = "31415926"
    handle = client.submit(project, commands=[f"sleep {marker}"], sandbox=kind)
    next(event for event in handle.events() if event.type == "step_started")
    sessions = worker.sessions()
    assert len(sessions) == (kind == "dagger")
    (child,) = worker.children()
    child.kill()
    eventually(lambda: not any(session.is_running() for session in sessions))
    eventually(lambda: handle.status().attempts == 2)
    handle.cancel()
    assert handle.result(30).attempts == 2


@pytest.mark.dagger
def test_engine_that_is_gone_is_our_failure_or_a_fallback(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker(
        **{RUNNER_HOST: "unix:///nowhere/engine.sock"}, REVALID_CONNECT_TIMEOUT_S="3"
    )
    failed = client.submit(project, commands=["true"], sandbox="dagger").result(30)
    assert failed.verdict is Verdict.ERRORED
    assert "revalid doctor" in str(failed.error)
    fallen = client.submit(project, commands=["true"], sandbox="auto").result(30)
    assert (fallen.verdict, fallen.sandbox.kind) == (Verdict.PASSED, "local")
    assert "no Dagger engine answered" in str(fallen.sandbox.fallback_reason)
    assert worker.sessions() == []
    again = client.submit(project, commands=["true"], sandbox="auto")
    assert again.submitted is Submitted.NEW, "a fallback's verdict is not reused"


@pytest.mark.dagger
def test_lost_engine_session_is_our_failure_and_tried_again(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    handle = client.submit(project, commands=["sleep 3; exit 5"], sandbox="dagger")
    next(event for event in handle.events() if event.type == "step_started")
    (session,) = worker.sessions()
    session.kill()
    result = handle.result(60)
    assert (result.verdict, result.attempts) == (Verdict.FAILED, 1)
    assert [step.exit_code for step in result.steps] == [5]
    assert [event.type for event in handle.events()].count("step_started") == 2


@pytest.mark.dagger
def test_unknown_image_is_rejected_and_a_silent_registry_is_not(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    start_worker()
    unknown = client.submit(project, commands=["true"], sandbox="dagger", image="node:no-such-tag")
    assert unknown.result(60).verdict is Verdict.REJECTED
    silent = client.submit(project, commands=["true"], sandbox="dagger", image="127.0.0.1:1/a:1")
    result = silent.result(60)
    assert result.verdict is Verdict.ERRORED
    assert "check the registry" in str(result.error)


def test_stopped_worker_returns_its_job(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    first = start_worker(REVALID_GRACE_S="1")
    handle = client.submit(project, commands=["sleep 600"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    first.process.terminate()
    eventually(lambda: handle.status().state is State.QUEUED)
    start_worker()
    eventually(lambda: handle.status().attempts == 2)
    handle.cancel()
    assert handle.result(30).verdict is Verdict.CANCELLED
    assert first.process.wait(30) == 0


def test_stopped_worker_finishes_a_short_job(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker(REVALID_GRACE_S="30")
    handle = client.submit(project, commands=["sleep 1; echo done"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    worker.process.terminate()
    assert handle.result(20).verdict is Verdict.PASSED
    assert worker.process.wait(30) == 0


def test_doorbell_of_an_unknown_version_is_refused(
    client: Client, start_worker: StartWorker
) -> None:
    worker = start_worker()
    sent = client.app.send_task(
        "revalid.validate", kwargs={"message": {"v": 2, "job_id": "0" * 32}}, queue="revalid.batch"
    )
    answer = sent.get(timeout=20)
    assert "message version 2 is not 1" in answer["refused"]
    assert "message refused" in worker.log.read_text()


def test_two_doorbells_run_a_job_once(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    handle = client.submit(project, commands=["echo once"], sandbox="local")
    again = client.submit(project, commands=["echo once"], sandbox="local")
    assert again.submitted is Submitted.JOINED
    start_worker()
    assert handle.result(30).attempts == 1
    eventually(lambda: not client.redis.llen("revalid.interactive"))
    assert [event.type for event in handle.events()].count("started") == 1


def test_job_that_kills_its_worker_is_dead_after_three(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    handle = client.submit(project, commands=["sleep 600"], sandbox="local")
    for crash in range(1, 4):

        def runs(number: int = crash) -> bool:
            record = handle.status()
            return record.state is State.RUNNING and record.attempts == number

        eventually(runs)
        pid = int(handle.status().worker.rpartition(":")[2])
        next(child for child in worker.children() if child.pid == pid).kill()
    result = handle.result(60)
    assert (result.verdict, result.attempts) == (Verdict.ERRORED, 3)
    assert "ended its worker 3 times" in str(result.error)
    assert client.ledger.dead() == [handle.id]
    assert client.submit(project, commands=["true"], sandbox="local").result(30).verdict == "passed"


def test_worker_whose_own_disk_fails_says_so(
    client: Client, start_worker: StartWorker, project: Path, tmp_path: Path
) -> None:
    start_worker(REVALID_SCRATCH=str(tmp_path / "nowhere"))
    result = client.submit(project, commands=["true"], sandbox="local").result(30)
    assert (result.verdict, result.attempts) == (Verdict.ERRORED, 1)
    assert "the worker's own files fail" in str(result.error)


def test_revoked_task_is_a_cancelled_job(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    start_worker()
    handle = client.submit(project, commands=["sleep 600"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    client.app.control.revoke(handle.id, terminate=True)
    assert handle.result(30).verdict is Verdict.CANCELLED


def test_result_that_its_process_could_not_record_is_recorded_by_the_next(
    client: Client, start_worker: StartWorker, project: Path, tmp_path: Path
) -> None:
    handle = client.submit(project, commands=["true"], sandbox="local")
    attempt = client.ledger.claim(handle.id, "gone:1")
    assert attempt is not None
    result = JobResult(
        id=handle.id,
        verdict=Verdict.PASSED,
        image="",
        attempts=1,
        queued_at=handle.status().queued_at,
        started_at=None,
        finished_at=handle.status().queued_at,
    )
    Outbox(tmp_path / "home", client.ledger, client.url).put(attempt, result)
    start_worker()
    assert handle.result(30) == result
    eventually(lambda: not list(tmp_path.glob("home/unrecorded/*/*")))


def test_worker_without_an_engine_takes_no_jobs_and_says_so(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    gone = {RUNNER_HOST: "unix:///nowhere/engine.sock", "REVALID_CONNECT_TIMEOUT_S": "2"}
    worker = start_worker(REVALID_SANDBOX="dagger", **gone)
    eventually(lambda: "takes no jobs: no Dagger engine" in worker.log.read_text())
    assert client.ledger.serving("revalid.interactive") == set()
    handle = client.submit(project, commands=["true"], limits={"engine_wait_s": 1})
    result = handle.result(40)
    assert (result.verdict, result.attempts) == (Verdict.ERRORED, 0)
    assert "no worker with an engine took the job" in str(result.error)
    assert "revalid doctor" in str(result.error)
    assert worker.process.poll() is None


@pytest.mark.dagger
def test_worker_whose_engine_is_back_takes_jobs_again(
    client: Client, start_worker: StartWorker, project: Path, tmp_path: Path
) -> None:
    real = os.environ[RUNNER_HOST].removeprefix("unix://")
    door = tmp_path / "engine.sock"
    worker = start_worker(
        REVALID_SANDBOX="dagger",
        REVALID_CONNECT_TIMEOUT_S="5",
        **{RUNNER_HOST: f"unix://{door}"},
    )
    eventually(lambda: "takes no jobs: no Dagger engine" in worker.log.read_text())
    handle = client.submit(project, commands=["true"], limits={"engine_wait_s": 300})
    eventually(lambda: client.redis.llen("revalid.interactive") == 1)
    door.symlink_to(real)
    result = handle.result(100)
    assert (result.verdict, result.attempts) == (Verdict.PASSED, 1)


def test_cut_connections_do_not_run_a_job_again(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    handle = client.submit(project, commands=["sleep 4; echo done"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    client.redis.client_kill_filter(_type="normal", skipme=True)
    result = handle.result(30)
    assert (result.verdict, result.attempts) == (Verdict.PASSED, 1)
    assert [event.type for event in handle.events()].count("started") == 1
    assert worker.process.poll() is None
    assert client.submit(project, commands=["true"], sandbox="local").result(30).verdict == "passed"


def test_environment_reaches_no_command(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    start_worker(CANARY="worker only")
    result = client.submit(project, commands=["env"], sandbox="local").result(30)
    assert "worker only" not in result.steps[0].stdout
    assert os.environ.get("HOME") not in result.steps[0].stdout.split("HOME=")[1].splitlines()
