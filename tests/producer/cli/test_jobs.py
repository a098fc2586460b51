"""``submit``, ``status``, ``result``, ``logs`` and ``cancel``, with a worker in the foreground."""

import json
import re
import signal
from dataclasses import replace
from pathlib import Path

from revalid.producer.client import Client
from tests.producer.cli.conftest import Revalid, Until

TRUE = ("--sandbox", "local", "--command", "echo spoken; echo aside >&2")


def submitted(revalid: Revalid, project: Path, *arguments: str) -> str:
    ran = revalid("submit", project, *arguments)
    assert ran.status == 0
    assert re.fullmatch(r"[0-9a-f]{32}\n", ran.out)
    return ran.out.strip()


def test_submit_prints_the_id_alone_and_says_what_it_found(revalid: Revalid, project: Path) -> None:
    first = revalid("submit", project, *TRUE)
    assert first.err.startswith("queued; ")
    assert "revalid worker" in first.err
    second = revalid("submit", project, *TRUE)
    assert (second.out, second.err[:17]) == (first.out, "already under way")
    found = revalid("submit", project, *TRUE, "--json")
    assert found.json == {"id": first.out.strip(), "submitted": "joined"}


def test_status_of_a_queued_job_for_people_and_programs(revalid: Revalid, project: Path) -> None:
    job_id = submitted(revalid, project, *TRUE)
    shown = revalid("status", job_id)
    assert shown.status == 0
    assert re.search(r"(?m)^state +queued$", shown.out)
    assert "verdict" not in shown.out
    found = revalid("status", job_id, "--json").json
    assert (found["id"], found["state"], found["verdict"]) == (job_id, "queued", None)
    assert (found["attempts"], found["started_at"]) == (0, None)


def test_status_of_a_job_that_waits_again_names_no_start(
    revalid: Revalid, project: Path, client: Client
) -> None:
    there = replace(revalid, environ={**revalid.environ, "REVALID_BROKER_URL": client.url})
    job_id = submitted(there, project, *TRUE)
    attempt = client._ledger.claim(job_id, "host:1")
    assert attempt is not None
    assert there("status", job_id, "--json").json["started_at"] is not None
    client._ledger.release(attempt, "its worker stops")
    found = there("status", job_id, "--json").json
    assert (found["state"], found["started_at"], found["attempts"]) == ("queued", None, 1)
    assert "started at" not in there("status", job_id).out


def test_a_queued_job_is_cancelled_and_has_its_result(revalid: Revalid, project: Path) -> None:
    job_id = submitted(revalid, project, *TRUE)
    assert revalid("result", job_id, "--no-wait").status == 3
    refused = revalid("result", job_id, "--no-wait", "--json")
    assert refused.json["error"]["kind"] == "result_timeout"
    assert "is queued" in refused.error
    assert revalid("logs", job_id).out == ""
    cancelled = revalid("cancel", job_id)
    assert (cancelled.status, cancelled.out) == (
        0,
        f"job {job_id}: it was queued and is cancelled\n",
    )
    again = revalid("cancel", job_id, "--json").json
    assert again == {"id": job_id, "state": "done", "was": "done", "verdict": "cancelled"}
    result = revalid("result", job_id)
    assert result.status == 1
    assert "cancelled: cancelled before it ran" in result.out
    assert revalid("result", job_id, "--json").json["steps"] == []


def test_a_worker_takes_jobs_that_were_submitted_before_it_started(
    revalid: Revalid, project: Path
) -> None:
    job_id = submitted(revalid, project, *TRUE)
    worker = revalid.start("worker", "--concurrency", "1")
    result = revalid("result", job_id, "--json")
    assert result.status == 0
    assert result.json["verdict"] == "passed"
    shown = revalid("result", job_id)
    assert re.search(r"(?m)^passed in ", shown.out)
    logs = revalid("logs", job_id, "--follow")
    assert logs.status == 0
    assert re.search(r"✓ echo spoken.*\nspoken\naside\n", logs.out)
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=60)
    assert worker.returncode == 0


def test_a_running_job_is_followed_and_cancelled(
    revalid: Revalid, project: Path, until: Until
) -> None:
    job_id = submitted(revalid, project, "--sandbox", "local", "--command", "echo begun; sleep 300")
    revalid.start("worker", "--concurrency", "1")
    follower = revalid.start("logs", job_id, "--follow")
    assert follower.stdout is not None
    lines = iter(follower.stdout.readline, "")
    assert any("│ begun" in line for line in lines)
    assert "│ begun" in revalid("logs", job_id).out
    assert "it is running and ends within seconds" in revalid("cancel", job_id).out
    assert any("cancelling" in line for line in lines)
    follower.communicate(timeout=60)
    assert follower.returncode == 0
    result = revalid("result", job_id, "--json")
    assert (result.status, result.json["verdict"]) == (1, "cancelled")


def test_run_uses_a_worker_of_its_kind_and_starts_none(
    revalid: Revalid, project: Path, until: Until
) -> None:
    revalid.start("worker", "--concurrency", "1")
    waiting = submitted(revalid, project, *TRUE)
    assert revalid("result", waiting).status == 0
    ran = revalid("run", project, "--sandbox", "local", "--command", "true", "--json")
    assert ran.status == 0
    queues = {
        revalid("status", job_id, "--json").json["queue"] for job_id in (waiting, ran.json["id"])
    }
    assert "revalid.interactive" in queues
    assert len(queues) == 2
    again = revalid("run", project, "--sandbox", "local", "--command", "id", "--json")
    assert revalid("status", again.json["id"], "--json").json["queue"] in queues


def test_a_path_that_the_worker_sees(revalid: Revalid, project: Path) -> None:
    asked = ("submit", project, "--on-worker", *TRUE, "--json")
    first, second = (revalid(*asked, REVALID_SOURCE_ROOTS=str(project)).json for _ in range(2))
    assert first["id"] != second["id"]
    revalid.start("worker", "--concurrency", "1", REVALID_SOURCE_ROOTS=str(project))
    assert revalid("result", first["id"]).status == 0
    assert json.loads(revalid("result", second["id"], "--json").out)["verdict"] == "passed"


def test_a_path_that_the_worker_does_not_allow_is_rejected(revalid: Revalid, project: Path) -> None:
    job_id = submitted(revalid, project, "--on-worker", *TRUE)
    revalid.start("worker", "--concurrency", "1", REVALID_SOURCE_ROOTS="/nowhere")
    ran = revalid("result", job_id)
    assert ran.status == 2
    assert "REVALID_SOURCE_ROOTS" in ran.out


def test_submit_refuses_an_invalid_webhook(revalid: Revalid, project: Path) -> None:
    ran = revalid("submit", project, *TRUE, "--webhook", "http://host/")
    assert (ran.status, ran.error[:16]) == (2, "webhook: http://")
    job_id = submitted(revalid, project, *TRUE, "--webhook", "https://host/")
    assert revalid("cancel", job_id).status == 0
