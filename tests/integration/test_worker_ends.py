"""Workers that are stopped, killed, cut off or full, and their jobs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import JobResult, Verdict
from revalid.producer.client import Client
from revalid.worker.outbox import Outbox
from tests.integration.conftest import StartWorker, eventually


def test_stopped_worker_returns_its_job(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    stopped_worker = start_worker(REVALID_GRACE_S="1")
    handle = client.submit(project, commands=["sleep 600"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    stopped_worker.process.terminate()
    eventually(lambda: handle.status().state is JobState.QUEUED)
    start_worker()
    eventually(lambda: handle.status().attempts == 2)
    handle.cancel()
    assert handle.result(30).verdict is Verdict.CANCELLED
    assert stopped_worker.process.wait(30) == 0


def test_stopped_worker_finishes_a_short_job(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker(REVALID_GRACE_S="30")
    handle = client.submit(project, commands=["sleep 1; echo done"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    worker.process.terminate()
    assert handle.result(20).verdict is Verdict.PASSED
    assert worker.process.wait(30) == 0


@pytest.mark.dagger
def test_killed_child_leaves_nothing_and_its_job_is_done_again(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    marker = "31415926"
    handle = client.submit(project, commands=[f"sleep {marker}"], sandbox="dagger")
    next(event for event in handle.events() if event.type == "step_started")
    (session,) = worker.sessions()
    (child,) = worker.children()
    child.kill()
    eventually(lambda: not session.is_running())
    eventually(lambda: handle.status().attempts == 2)
    handle.cancel()
    assert handle.result(30).attempts == 2


def test_job_that_kills_its_worker_is_dead_after_three(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    handle = client.submit(project, commands=["sleep 600"], sandbox="local")
    for crash in range(1, 4):

        def runs(number: int = crash) -> bool:
            record = handle.status()
            return record.state is JobState.RUNNING and record.attempts == number

        eventually(runs)
        pid = int(handle.status().worker.rpartition(":")[2].partition("-")[0])
        next(child for child in worker.children() if child.pid == pid).kill()
    result = handle.result(60)
    assert (result.verdict, result.attempts) == (Verdict.ERRORED, 3)
    assert "ended its worker 3 times" in str(result.error)
    assert client._ledger.dead() == [handle.id]
    assert client.submit(project, commands=["true"], sandbox="local").result(30).verdict == "passed"


def test_result_that_its_process_could_not_record_is_recorded_by_the_next(
    client: Client, start_worker: StartWorker, project: Path, tmp_path: Path
) -> None:
    handle = client.submit(project, commands=["true"], sandbox="local")
    attempt = client._ledger.claim(handle.id, "gone:1")
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
    Outbox(tmp_path / "home", client._ledger, client.url).put(attempt, result)
    start_worker()
    assert handle.result(30) == result
    eventually(lambda: not list(tmp_path.glob("home/unrecorded/*/*")))


def test_job_that_no_worker_has_disk_space_for_ends_with_a_reason(
    client: Client, start_worker: StartWorker, project: Path, tmp_path: Path
) -> None:
    start_worker(REVALID_SCRATCH=str(tmp_path / "nowhere"))
    handle = client.submit(project, commands=["true"], sandbox="local")
    result = handle.result(60)
    assert result.verdict is Verdict.ERRORED
    assert "no worker in service took the job" in str(result.error)
    assert "nowhere: No such file or directory" in str(result.error)


def test_cut_connections_do_not_run_a_job_again(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    worker = start_worker()
    handle = client.submit(project, commands=["sleep 4; echo done"], sandbox="local")
    next(event for event in handle.events() if event.type == "step_started")
    client._redis.client_kill_filter(_type="normal", skipme=True)
    result = handle.result(30)
    assert (result.verdict, result.attempts) == (Verdict.PASSED, 1)
    assert [event.type for event in handle.events()].count("started") == 1
    assert worker.process.poll() is None
    assert client.submit(project, commands=["true"], sandbox="local").result(30).verdict == "passed"


BROKEN = """
import sys
from revalid.worker import transport
from revalid.worker.__main__ import main

def broken(self, **_):
    raise RuntimeError("the consumer is broken")

transport.Channel._brpop_read = broken
sys.exit(main())
"""


@pytest.mark.slow
def test_a_worker_ended_by_an_error_has_an_exit_status(valkey_url: str, tmp_path: Path) -> None:
    own = {k: v for k, v in os.environ.items() if not k.startswith("REVALID_")}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", BROKEN],
        env={**own, "REVALID_BROKER_URL": valkey_url, "REVALID_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "the consumer is broken" in ended.stderr
    assert ended.returncode == 1
