"""``run`` and ``replay`` with a real broker and a real worker, in the local sandbox."""

import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

from tests.producer.cli.conftest import LOCAL, REVALID, Revalid, Until, commands

KEYS = {
    "id",
    "verdict",
    "sandbox",
    "image",
    "source",
    "attempts",
    "queued_at",
    "started_at",
    "queued_s",
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
    "cancelled",
    "saved_s",
    "skipped_reason",
}


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


def test_a_project_that_fails_and_its_verdict_again(served: Revalid, project: Path) -> None:
    asked = ("run", str(project), *LOCAL, *commands("echo out; echo err >&2; exit 5", "true"))
    ran = served(*asked)
    assert ran.status == 1
    assert re.search(r"(?m)^  ✗ .* exit 5$", ran.out)
    assert re.search(r"(?m)^  . true +skipped: echo out.* did not succeed$", ran.out)
    assert "  stdout:\n  out\n  stderr:\n  err\n" in ran.out
    assert re.search(r"(?m)^failed in ", ran.out)
    again = served(*asked)
    assert again.status == 1
    assert "--fresh runs it again" in again.out
    assert "  stdout:\n  out\n  stderr:\n  err\n" in again.out
    fresh = served(*asked, "--fresh")
    assert fresh.status == 1
    assert "--fresh" not in fresh.out


def test_keep_going_runs_each_line(served: Revalid, project: Path) -> None:
    asked = ("run", str(project), *LOCAL, *commands("exit 5", "echo on"), "--json")
    stopped, gone_on = served(*asked).json, served(*asked, "--keep-going").json
    assert stopped["id"] != gone_on["id"]
    assert [step["exit_code"] for step in stopped["steps"]] == [5, None]
    assert [step["exit_code"] for step in gone_on["steps"]] == [5, 0]


def test_a_session_keeps_what_commands_leave(
    served: Revalid, project: Path, tmp_path: Path
) -> None:
    lines = ("mkdir -p deep && cd deep", "export A=1", "f() { basename $PWD; }", "echo $A $(f)")
    apart = served("run", project, *LOCAL, *commands(*lines), "--json").json
    together = served("run", project, *LOCAL, *commands(*lines), "--session", "--json").json
    assert (together["verdict"], together["steps"][3]["stdout"]) == ("passed", "1 deep\n")
    assert [step["command"] for step in together["steps"]] == list(lines)
    assert apart["id"] != together["id"]
    assert "'export A=1' has no effect on later commands" in apart["notes"][0]

    recorded = tmp_path / "session.jsonl"
    steps = [{"op": "exec", "command": line} for line in (*lines, "set -o pipefail; false | cat")]
    recorded.write_text("\n".join(map(json.dumps, steps)))
    ran = served("replay", recorded, "--project", project, *LOCAL, "--session", "--json").json
    assert [step["exit_code"] for step in ran["steps"]] == [0, 0, 0, 0, 1]
    assert ran["verdict"] == "failed", "each command keeps its own end"


def test_json_is_one_document_with_every_promised_field(served: Revalid, project: Path) -> None:
    ran = served("run", project, *LOCAL, *commands("echo x; exit 1"), "--label", "a=b", "--json")
    assert ran.status == 1
    assert ran.err == ""
    found = ran.json
    assert found.keys() >= KEYS
    assert found["verdict"] == "failed"
    assert found["sandbox"].pop("toolchain").startswith("sha256:")
    assert found["sandbox"] == {"kind": "local", "fallback_reason": None, "image_digest": None}
    assert found["source"]["digest"].startswith("sha256:")
    assert found["labels"] == {"a": "b"}
    (step,) = found["steps"]
    assert step.keys() >= STEP_KEYS
    assert (step["command"], step["exit_code"], step["stdout"]) == ("echo x; exit 1", 1, "x\n")


def test_a_command_that_takes_too_long_times_out(served: Revalid, project: Path) -> None:
    ran = served(
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


def test_a_job_that_the_worker_does_not_allow_is_rejected(served: Revalid, project: Path) -> None:
    ran = served("run", project, *LOCAL, *commands("true"), "--secret", "KEY=env://HOME")
    assert ran.status == 2
    assert re.search(r"(?m)^rejected in .*HOME", ran.out)
    shown = served("run", project, *LOCAL, "--json")
    assert shown.status == 2
    assert shown.json["verdict"] == "rejected"
    assert "no strategy fits" in shown.json["error"]


def test_a_tarball_runs_as_its_directory_does(
    served: Revalid, project: Path, tmp_path: Path
) -> None:
    subprocess.run(["tar", "czf", tmp_path / "p.tgz", "-C", project, "."], check=True)
    assert served("run", tmp_path / "p.tgz", *LOCAL, *commands("cat hello.txt")).status == 0


def test_the_projects_own_env_file_does_not_configure_its_validator(
    served: Revalid, project: Path
) -> None:
    (project / ".env").write_text("REVALID_IMAGE=evil/image\nREVALID_NONSENSE=1\n")
    inner = project / "inner"
    inner.mkdir()
    for cwd, named in ((project, "."), (inner, "..")):
        ran = served("run", named, *LOCAL, *commands("true"), "--json", cwd=cwd)
        assert ran.status == 0
        assert "evil" not in ran.json["image"]
    (project.parent / ".env").write_text("REVALID_IMAGE=my/image\n")
    ran = served("run", project, *LOCAL, *commands("true"), "--json", cwd=project.parent)
    assert ran.json["image"] == "my/image"


def test_code_beside_the_caller_is_not_imported(revalid: Revalid, project: Path) -> None:
    for package in ("worker", "jobs"):
        (project / package).mkdir()
        (project / package / "__init__.py").write_text("raise SystemExit('hijacked')")
    assert revalid("run", ".", *LOCAL, *commands("true"), cwd=project).status == 0


def test_on_a_terminal_the_step_is_shown_live_and_the_cursor_comes_back(
    served: Revalid, project: Path
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [REVALID, "run", str(project), *LOCAL, *commands("echo '[red]x'; sleep 1")],
        env={**served.environ, "TERM": "xterm-256color"},
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


def test_a_trajectory_is_replayed(served: Revalid, tmp_path: Path, project: Path) -> None:
    trajectory = tmp_path / "t.jsonl"
    steps = [
        {"op": "write_file", "path": "a/b.txt", "content": "written\n"},
        {"op": "set_env", "name": "WORD", "value": "spoken"},
        {"op": "exec", "command": 'cat a/b.txt; echo "$WORD"; ls', "name": "look"},
    ]
    trajectory.write_text("\n".join(map(json.dumps, steps)))
    ran = served("replay", trajectory, *LOCAL, "--json")
    assert ran.status == 0
    assert ran.json["steps"][2]["stdout"] == "written\nspoken\na\n"
    with_project = served("replay", trajectory, "--project", project, *LOCAL, "--json").json
    assert with_project["steps"][2]["stdout"] == "written\nspoken\na\nhello.txt\n"


def test_a_trajectory_may_read_its_project_from_the_host_and_nothing_else(
    revalid: Revalid, served: Revalid, tmp_path: Path, project: Path
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
    without = served("replay", trajectory, *LOCAL)
    assert without.status == 2
    assert "REVALID_SOURCE_ROOTS" in without.out
    asking(project.parent)
    assert revalid("replay", trajectory, "--project", project, *LOCAL).status == 2


def test_the_users_workers_run_jobs_on_the_users_broker(
    revalid: Revalid, project: Path, until: Until
) -> None:
    url = revalid("broker", "start").out.strip()
    try:
        worker = revalid.start("worker", REVALID_BROKER_URL=url, REVALID_SANDBOX="local")
        ran = revalid("run", project, *commands("true"), "--json", REVALID_BROKER_URL=url)
        assert ran.status == 0
        assert ran.json["sandbox"]["kind"] == "local"
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)
    finally:
        revalid("broker", "stop")
