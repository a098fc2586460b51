"""A worker whose engine is gone, comes back, or loses a session."""

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.result import Verdict
from revalid.producer.client import Client
from revalid.producer.metrics import LedgerCollector
from tests.conftest import RUNNER_HOST
from tests.integration.conftest import StartWorker, eventually


@pytest.mark.dagger
def test_engine_that_is_gone_is_our_failure_or_a_fallback(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker(
        **{RUNNER_HOST: "unix:///nowhere/engine.sock"}, REVALID_CONNECT_TIMEOUT_S="1"
    )
    failed = client.submit(project, commands=["true"], sandbox="dagger").result(30)
    assert failed.verdict is Verdict.ERRORED
    assert "revalid doctor" in str(failed.error)
    fallen = client.submit(project, commands=["true"], sandbox="auto").result(30)
    assert (fallen.verdict, fallen.sandbox.kind) == (Verdict.PASSED, "local")
    assert "no Dagger engine answered" in str(fallen.sandbox.fallback_reason)
    assert worker.sessions() == []
    again = client.submit(project, commands=["true"], sandbox="auto")
    assert again.outcome is SubmitOutcome.NEW, "a fallback's verdict is not reused"


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
    registry = CollectorRegistry()
    registry.register(LedgerCollector(client._ledger, client.url))
    assert registry.get_sample_value("revalid_engine_sessions_lost_total") == 1


def test_worker_without_an_engine_takes_no_jobs(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    missing_engine = {RUNNER_HOST: "unix:///nowhere/engine.sock", "REVALID_CONNECT_TIMEOUT_S": "2"}
    worker = start_worker(REVALID_SANDBOX="dagger", **missing_engine)
    eventually(lambda: "takes no jobs: no Dagger engine" in worker.log.read_text())
    assert client._ledger.serving("revalid.interactive") == set()
    handle = client.submit(project, commands=["true"], limits={"engine_wait_s": 1})
    result = handle.result(40)
    assert (result.verdict, result.attempts) == (Verdict.ERRORED, 0)
    assert "no worker in service took the job" in str(result.error)
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
    eventually(lambda: client._redis.llen("revalid.interactive") == 1)
    door.symlink_to(real)
    result = handle.result(100)
    assert (result.verdict, result.attempts) == (Verdict.PASSED, 1)
