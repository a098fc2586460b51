"""``run`` beside others, interrupted, killed, and without its worker or broker."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import redis

from tests.producer.cli.conftest import LOCAL, Revalid, Until, commands


def begin(
    revalid: Revalid, project: Path, begun: Path, until: Until, *options: str
) -> "subprocess.Popen[str]":
    """A run whose one command is under way, and is not to end by itself."""
    process = revalid.start(
        "run", project, *LOCAL, *commands(f"touch {begun}; sleep 300"), *options
    )
    until(begun.exists)
    return process


def test_runs_side_by_side_do_not_disturb_each_other(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    gate = tmp_path / "gate"
    slow = revalid.start(
        "run", project, *LOCAL, *commands(f"until [ -e {gate} ]; do sleep 0.05; done"), "--json"
    )
    quick = revalid("run", project, *LOCAL, *commands("true"), "--json")
    joined = revalid.start(
        "run", project, *LOCAL, *commands(f"until [ -e {gate} ]; do sleep 0.05; done"), "--json"
    )
    assert quick.status == 0
    gate.touch()
    documents = [json.loads(process.communicate(timeout=90)[0]) for process in (slow, joined)]
    assert [document["verdict"] for document in documents] == ["passed", "passed"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_cancels_its_job(
    revalid: Revalid, project: Path, until: Until, number: signal.Signals
) -> None:
    process = revalid.start("run", project, *LOCAL, *commands("echo begun; sleep 300"))
    assert process.stdout is not None
    shown = ""
    while "│ begun" not in shown:
        line = process.stdout.readline()
        assert line, shown
        shown += line
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert re.search(r"(?m)^cancelled in ", out)
    until(lambda: not revalid.left())
    (job_id,) = re.findall(r"job       ([0-9a-f]{32})", shown)
    status = revalid("status", job_id, "--json").json
    assert (status["state"], status["verdict"]) == ("done", "cancelled")


def test_an_interrupt_with_json_leaves_the_document_whole(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    process = begin(revalid, project, tmp_path / "begun", until, "--json")
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert json.loads(out)["verdict"] == "cancelled"


def test_a_second_interrupt_ends_at_once(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    process = begin(revalid, project, tmp_path / "begun", until)
    (worker,) = [found for found in revalid.left() if "--own-queues" in found.cmdline()]
    os.killpg(worker.pid, signal.SIGSTOP)  # so that nobody answers the first
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    lines = iter(process.stdout.readline, "")
    assert any("press Ctrl-C again to leave at once" in line for line in lines)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    os.killpg(worker.pid, signal.SIGCONT)


def test_a_killed_run_leaves_nothing_and_its_job_can_run_again(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    asked = ("run", str(project), *LOCAL, *commands(f"touch {begun}; [ -e {gate} ] || sleep 300"))
    process = revalid.start(*asked)
    until(begun.exists)
    process.kill()
    process.communicate(timeout=60)
    until(lambda: not revalid.left())
    gate.touch()
    assert revalid(*asked).status == 0


@pytest.mark.slow  # by SIGKILL a lease ends first
@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_joined_a_job_ends_without_it(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until, number: signal.Signals
) -> None:
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    line = f"touch {begun}; until [ -e {gate} ]; do sleep 0.05; done"
    asked = (str(project), *LOCAL, *commands(line))
    url = revalid("broker", "start").out.strip()
    try:
        job_id = revalid("submit", *asked, "--json").json["id"]
        process = revalid.start("run", *asked)
        until(begun.exists)
        process.send_signal(number)
        process.communicate(timeout=60)
        with redis.Redis.from_url(url, decode_responses=True) as client:
            key = f"revalid:job:{job_id}"
            until(lambda: client.hmget(key, "state", "queue") == ["queued", "revalid.interactive"])
        gate.touch()
        assert revalid("run", *asked).status == 0
    finally:
        revalid("broker", "stop")


def test_a_dead_worker_ends_the_run_with_a_message(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    process = begin(revalid, project, tmp_path / "begun", until, "--json")
    (worker,) = [found for found in revalid.left() if "--own-queues" in found.cmdline()]
    worker.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "the worker ended with status -9" in err
    document = json.loads(out)
    assert document["error"]["kind"] == "worker_unavailable"
    assert re.fullmatch(r"[0-9a-f]{32}", document["id"])


def test_a_dead_broker_ends_the_run_with_a_message(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    process = begin(revalid, project, tmp_path / "begun", until)
    assert revalid("broker", "stop").out == "stopped\n"
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert re.fullmatch(r"error: broker unix://.* cannot be reached .*\n", err)


def test_a_broker_that_lost_the_job_ends_the_run_with_a_message(
    revalid: Revalid, project: Path, until: Until
) -> None:
    url = revalid("broker", "start").out.strip()
    try:
        with redis.Redis.from_url(url) as client:
            process = revalid.start("run", project, *commands("true"), REVALID_BROKER_URL=url)
            until(lambda: bool(client.keys("revalid:job:*")))
            client.flushdb()
        _, err = process.communicate(timeout=60)
    finally:
        revalid("broker", "stop")
    assert process.returncode == 2
    assert re.fullmatch(r"error: job [0-9a-f]{32}: no such job, or its result was purged\n", err)
