"""``run`` and ``replay`` with a real broker and a real worker, in the local sandbox."""

import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest
import redis

from tests.producer.cli.conftest import REVALID, Revalid, Until

LOCAL = ("--sandbox", "local")
KEYS = {
    "id",
    "verdict",
    "sandbox",
    "image",
    "source",
    "attempts",
    "queued_at",
    "started_at",
    "finished_at",
    "steps",
}
STEP_KEYS = {
    "name",
    "command",
    "exit_code",
    "stdout",
    "stderr",
    "stdout_bytes",
    "stderr_bytes",
    "truncated",
    "duration_s",
    "timed_out",
    "cached",
    "skipped_reason",
}


def commands(*lines: str) -> list[str]:
    return [word for line in lines for word in ("--command", line)]


def test_a_project_that_passes(revalid: Revalid, project: Path) -> None:
    ran = revalid("run", project, *LOCAL, *commands("cat hello.txt", "echo done"))
    assert ran.status == 0
    assert ran.err == ""
    lines = ran.out.splitlines()
    assert re.fullmatch(r"  job       [0-9a-f]{32}", lines[0])
    assert "  sandbox   local" in lines
    assert "    cat hello.txt │ hello" in lines
    assert re.search(r"(?m)^  ✓ cat hello\.txt +\d+\.\d s$", ran.out)
    assert re.fullmatch(r"passed in \d+\.\d s", lines[-1])


def test_a_project_that_fails_and_its_verdict_again(revalid: Revalid, project: Path) -> None:
    asked = ("run", str(project), *LOCAL, *commands("echo out; echo err >&2; exit 5", "true"))
    ran = revalid(*asked)
    assert ran.status == 1
    assert re.search(r"(?m)^  ✗ .* exit 5$", ran.out)
    assert re.search(r"(?m)^  ✓ true", ran.out)
    assert "  stdout:\n  out\n  stderr:\n  err\n" in ran.out
    assert re.search(r"(?m)^failed in ", ran.out)
    again = revalid(*asked)
    assert again.status == 1
    assert "--fresh runs it again" in again.out
    assert "  stdout:\n  out\n  stderr:\n  err\n" in again.out
    fresh = revalid(*asked, "--fresh")
    assert fresh.status == 1
    assert "--fresh" not in fresh.out


def test_json_is_one_document_with_every_promised_field(revalid: Revalid, project: Path) -> None:
    ran = revalid("run", project, *LOCAL, *commands("echo x; exit 1"), "--label", "a=b", "--json")
    assert ran.status == 1
    assert ran.err == ""
    found = ran.json
    assert found.keys() >= KEYS
    assert found["verdict"] == "failed"
    assert found["sandbox"] == {"kind": "local", "fallback_reason": None, "image_digest": None}
    assert found["source"]["digest"].startswith("sha256:")
    assert found["labels"] == {"a": "b"}
    (step,) = found["steps"]
    assert step.keys() >= STEP_KEYS
    assert (step["command"], step["exit_code"], step["stdout"]) == ("echo x; exit 1", 1, "x\n")


def test_a_command_that_takes_too_long_times_out(revalid: Revalid, project: Path) -> None:
    ran = revalid(
        "run", project, *LOCAL, *commands("echo begun; sleep 300"), "--timeout", "0.5", "--json"
    )
    assert ran.status == 1
    assert ran.json["verdict"] == "timed_out"
    assert ran.json["steps"][0]["stdout"] == "begun\n"


def test_variables_and_secrets_reach_the_commands(revalid: Revalid, project: Path) -> None:
    ran = revalid(
        "run", project, *LOCAL, *commands('echo "$A"; printf %s "$TOKEN" | wc -c; echo "$TOKEN"'),
        "--env", "A=b=c", "--secret", "TOKEN=env://DATABRICKS_TOKEN", "--json",
        DATABRICKS_TOKEN="dapi-not-to-be-seen",
    )  # fmt: skip
    assert ran.status == 0
    shown = ran.json["steps"][0]["stdout"].split()
    assert shown[:2] == ["b=c", "19"]
    assert "dapi" not in ran.out


def test_what_the_worker_does_not_allow_is_rejected(revalid: Revalid, project: Path) -> None:
    ran = revalid("run", project, *LOCAL, *commands("true"), "--secret", "KEY=env://HOME")
    assert ran.status == 2
    assert re.search(r"(?m)^rejected in .*HOME", ran.out)
    shown = revalid("run", project, *LOCAL, "--json")
    assert shown.status == 2
    assert shown.json["verdict"] == "rejected"
    assert "no strategy fits" in shown.json["error"]


def test_a_tarball_runs_as_its_directory_does(
    revalid: Revalid, project: Path, tmp_path: Path
) -> None:
    subprocess.run(["tar", "czf", tmp_path / "p.tgz", "-C", project, "."], check=True)
    assert revalid("run", tmp_path / "p.tgz", *LOCAL, *commands("cat hello.txt")).status == 0


def test_the_projects_own_env_file_does_not_configure_its_validator(
    revalid: Revalid, project: Path
) -> None:
    (project / ".env").write_text("REVALID_IMAGE=evil/image\nREVALID_NONSENSE=1\n")
    inner = project / "inner"
    inner.mkdir()
    for cwd, named in ((project, "."), (inner, "..")):
        ran = revalid("run", named, *LOCAL, *commands("true"), "--json", cwd=cwd)
        assert ran.status == 0
        assert "evil" not in ran.json["image"]
    (project.parent / ".env").write_text("REVALID_IMAGE=my/image\n")
    ran = revalid("run", project, *LOCAL, *commands("true"), "--json", cwd=project.parent)
    assert ran.json["image"] == "my/image"


def test_code_beside_the_caller_is_not_imported(revalid: Revalid, project: Path) -> None:
    for package in ("worker", "jobs"):
        (project / package).mkdir()
        (project / package / "__init__.py").write_text("raise SystemExit('hijacked')")
    assert revalid("run", ".", *LOCAL, *commands("true"), cwd=project).status == 0


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


def test_interrupted_with_json_the_document_is_still_whole(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    begun = tmp_path / "begun"
    process = revalid.start(
        "run", project, *LOCAL, *commands(f"touch {begun}; sleep 300"), "--json"
    )
    until(begun.exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert json.loads(out)["verdict"] == "cancelled"


def test_a_second_interrupt_leaves_at_once(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    begun = tmp_path / "begun"
    process = revalid.start("run", project, *LOCAL, *commands(f"touch {begun}; sleep 300"))
    until(begun.exists)
    (worker,) = [found for found in revalid.left() if "--own-queues" in found.cmdline()]
    os.killpg(worker.pid, signal.SIGSTOP)  # so that nobody answers the first
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    lines = iter(process.stdout.readline, "")
    assert any("Ctrl-C again leaves at once" in line for line in lines)
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


def test_a_worker_that_dies_ends_the_run_in_words(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    begun = tmp_path / "begun"
    process = revalid.start(
        "run", project, *LOCAL, *commands(f"touch {begun}; sleep 300"), "--json"
    )
    until(begun.exists)
    (worker,) = [found for found in revalid.left() if "--own-queues" in found.cmdline()]
    worker.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "the worker ended with status -9" in err
    document = json.loads(out)
    assert document["error"]["kind"] == "worker_unavailable"
    assert re.fullmatch(r"[0-9a-f]{32}", document["id"])


def test_a_broker_that_dies_ends_the_run_in_words(
    revalid: Revalid, project: Path, tmp_path: Path, until: Until
) -> None:
    begun = tmp_path / "begun"
    process = revalid.start("run", project, *LOCAL, *commands(f"touch {begun}; sleep 300"))
    until(begun.exists)
    assert revalid("broker", "stop").out == "stopped\n"
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert re.fullmatch(r"error: broker unix://.* is not reached .*\n", err)


def test_a_broker_that_forgot_the_job_ends_the_run_in_words(
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


def test_on_a_terminal_the_step_is_shown_live_and_the_cursor_comes_back(
    revalid: Revalid, project: Path
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [REVALID, "run", str(project), *LOCAL, *commands("echo '[red]x'; sleep 1")],
        env={**revalid.environ, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65_536):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0
    assert "[red]x" in text
    assert "│" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert re.search("passed.* in ", text)


def test_a_trajectory_is_replayed(revalid: Revalid, tmp_path: Path, project: Path) -> None:
    trajectory = tmp_path / "t.jsonl"
    steps = [
        {"op": "write_file", "path": "a/b.txt", "content": "written\n"},
        {"op": "set_env", "name": "WORD", "value": "spoken"},
        {"op": "exec", "command": 'cat a/b.txt; echo "$WORD"; ls', "name": "look"},
    ]
    trajectory.write_text("\n".join(map(json.dumps, steps)))
    ran = revalid("replay", trajectory, *LOCAL, "--json")
    assert ran.status == 0
    assert ran.json["steps"][2]["stdout"] == "written\nspoken\na\n"
    with_project = revalid("replay", trajectory, "--project", project, *LOCAL, "--json").json
    assert with_project["steps"][2]["stdout"] == "written\nspoken\na\nhello.txt\n"


def test_a_trajectory_may_read_its_project_from_the_host_and_nothing_else(
    revalid: Revalid, tmp_path: Path, project: Path
) -> None:
    trajectory = tmp_path / "t.jsonl"

    def asking(path: Path) -> None:
        steps = [
            {"op": "refresh_from_host", "host_path": str(path), "path": "copy"},
            {"op": "exec", "command": "cat copy/hello.txt"},
        ]
        trajectory.write_text("\n".join(map(json.dumps, steps)))

    asking(project)
    assert revalid("replay", trajectory, "--project", project, *LOCAL).status == 0
    without = revalid("replay", trajectory, *LOCAL)
    assert without.status == 2
    assert "REVALID_SOURCE_ROOTS" in without.out
    asking(project.parent)
    assert revalid("replay", trajectory, "--project", project, *LOCAL).status == 2


def test_on_a_broker_of_ones_own_ones_own_workers_do_the_work(
    revalid: Revalid, project: Path, until: Until
) -> None:
    url = revalid("broker", "start").out.strip()
    try:
        worker = revalid.start("worker", REVALID_BROKER_URL=url, REVALID_SANDBOX="local")
        ran = revalid("run", project, *commands("true"), "--json", REVALID_BROKER_URL=url)
        assert ran.status == 0
        assert ran.json["sandbox"] == {
            "kind": "local",
            "fallback_reason": None,
            "image_digest": None,
        }
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)
    finally:
        revalid("broker", "stop")
