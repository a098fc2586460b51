"""``batch``: many projects run, followed, resumed, run again, compared and cancelled."""

import json
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.producer.cli.conftest import LOCAL, Revalid, Until

CODE = "exit $(cat code)"


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """Six projects: two of each exit code, and two of them equal."""
    for number in range(6):
        directory = tmp_path / "apps" / f"app-{number}"
        directory.mkdir(parents=True)
        (directory / "code").write_text(str(number % 3))
        if number not in (1, 4):
            (directory / "own").write_text(str(number))
    return tmp_path / "apps"


def own_workers(revalid: Revalid) -> list[psutil.Process]:
    """Workers that a batch has started."""
    found = []
    for process in revalid.left():
        with suppress(psutil.NoSuchProcess):
            if "--own-queues" in process.cmdline():
                found.append(process)
    return found


def by_project(document: dict[str, Any]) -> dict[str, str | None]:
    return {row["project"]: row["verdict"] for row in document["jobs"]}


def test_every_project_has_its_row(served: Revalid, apps: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    ran = served("batch", "run", apps, "--command", CODE, *LOCAL, "--report", f"json={report}")
    assert ran.status == 1
    assert "app-1  failed" in ran.out
    assert ran.out.splitlines()[-1] == "6 projects  passed 2  failed 4"
    written = json.loads(report.read_text())
    assert written["id"] in ran.out
    assert by_project(written) == {
        f"app-{number}": "failed" if number % 3 else "passed" for number in range(6)
    }
    rows = {row["project"]: row for row in written["jobs"]}
    assert rows["app-1"]["id"] == rows["app-4"]["id"], "equal projects share a job"
    assert rows["app-2"]["steps"][0]["exit_code"] == 2
    again = served("batch", "run", apps, "--command", CODE, *LOCAL, "--only", "app-[03]", "--json")
    assert again.status == 0
    assert again.json["counts"]["passed"] == 2
    assert not any(row["reused"] for row in written["jobs"])
    assert all(row["reused"] and row["duration_s"] > 0 for row in again.json["jobs"])
    shown = served("batch", "status", again.json["id"])
    assert shown.out.splitlines() == ["2 projects  passed 2  reused 2"]
    assert {"project", "id", "verdict", "failed_step", "duration_s"} <= again.json["jobs"][0].keys()
    assert "steps" not in again.json["jobs"][0]
    listed = served("batch", "list", "--json").json
    assert [batch["projects"] for batch in listed[:2]] == [2, 6]
    status = served("batch", "status", written["id"], "--json").json
    assert status["counts"] == written["counts"]
    compared = served("batch", "compare", again.json["id"], report, "--json")
    assert compared.status == 0
    assert len(compared.json["missing"]) == 4


def test_expected_verdicts_decide_the_exit_status(
    served: Revalid, apps: Path, tmp_path: Path
) -> None:
    expected = tmp_path / "expected.csv"
    right = [f"app-{n},{'failed' if n % 3 else 'passed'}" for n in range(6)]
    command = ("batch", "run", apps, "--command", CODE, *LOCAL, "--expect", expected)
    expected.write_text("\n".join(("project,verdict", *right)))
    ran = served(*command)
    assert ran.status == 0
    assert ran.out.splitlines()[-1].split("  ") == [
        "right 6",
        "false green 0",
        "false red 0",
        "unproven 0",
        "miscounted 0",
    ]
    expected.write_text("\n".join(("project,verdict", "app-0,failed", *right[1:])))
    wrong = served(*command)
    assert wrong.status == 1
    assert "false green" in wrong.out.splitlines()[-2]
    assert "app-0  expected failed, is passed: exited with 0" in wrong.out
    batch_id = wrong.out.split()[1]
    again = served("batch", "report", batch_id, "--expect", expected, "--json")
    assert again.status == 1
    assert again.json["expectations"]["table"] == {
        "failed": {"passed": 1, "failed": 4},
        "passed": {"passed": 1},
    }
    before = served("batch", "list", "--json").json
    expected.write_text("\n".join(("project,verdict", *right[1:])))
    refused = served(*command)
    assert refused.status == 2
    assert "--expect has no line for app-0" in refused.err
    assert served("batch", "list", "--json").json == before, "nothing was submitted"


def test_repeats_find_what_is_flaky(revalid: Revalid, tmp_path: Path) -> None:
    for name in ("steady", "flaky"):
        (tmp_path / "apps" / name).mkdir(parents=True)
        (tmp_path / "apps" / name / "file").write_text(name)
    mark = tmp_path / "mark"
    line = f"case $(cat file) in flaky) mkdir {mark} ;; esac"
    ran = revalid(
        *("batch", "run", tmp_path / "apps", "--repeat", "2", "--command", line, *LOCAL, "--json"),
    )
    assert ran.status == 1
    assert ran.json["flaky"] == ["flaky"]
    assert Counter(row["verdict"] for row in ran.json["jobs"]) == {"passed": 3, "failed": 1}
    assert len({row["id"] for row in ran.json["jobs"]}) == 4


def test_a_killed_batch_continues_where_it_stopped(
    revalid: Revalid, tmp_path: Path, until: Until
) -> None:
    for number in range(8):
        (tmp_path / "apps" / f"app-{number:02}").mkdir(parents=True)
        (tmp_path / "apps" / f"app-{number:02}" / "number").write_text(str(number))
    marks = tmp_path / "marks"
    marks.mkdir()
    command = f"echo run >> {marks}/$(cat number); sleep 0.3"
    first = revalid.start(
        *("batch", "run", tmp_path / "apps", "--concurrency", "2", "--command", command, *LOCAL),
    )
    until(lambda: len(list(marks.iterdir())) >= 3)
    first.kill()
    until(lambda: not own_workers(revalid))
    (batch,) = revalid("batch", "list", "--json").json
    assert 0 < batch["submitted"] <= 8
    ran = revalid("batch", "resume", batch["id"], "--json")
    assert ran.status == 0, ran.err
    assert ran.json["counts"]["passed"] == 8
    runs = Counter(len(mark.read_text().splitlines()) for mark in marks.iterdir())
    assert runs.total() == 8
    assert runs[1] >= 6, "what ran when the worker was ended, runs again"
    assert [row["project"] for row in ran.json["jobs"]] == [f"app-{n:02}" for n in range(8)]
    assert len(revalid("batch", "list", "--json").json) == 1


@pytest.mark.slow
def test_a_killed_worker_is_replaced(revalid: Revalid, apps: Path, until: Until) -> None:
    process = revalid.start(
        *("batch", "run", apps, "--command", "sleep 1", *LOCAL, "--concurrency", "2", "--json")
    )

    def submitted() -> int:
        return sum(batch["submitted"] for batch in revalid("batch", "list", "--json").json)

    until(lambda: submitted() > 0)
    own_workers(revalid)[0].kill()
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert json.loads(out)["counts"]["passed"] == 6


@pytest.mark.slow
def test_failures_are_run_again_on_demand(revalid: Revalid, apps: Path) -> None:
    ran = revalid("batch", "run", apps, "--command", CODE, *LOCAL, "--json")
    batch = ran.json["id"]
    before = {row["project"]: row["id"] for row in ran.json["jobs"]}
    refused = revalid("batch", "retry", batch, "--json")
    assert (refused.status, "no project is errored" in refused.err) == (2, True)
    again = revalid("batch", "retry", batch, "--verdict", "failed", "--json")
    assert again.status == 1
    after = {row["project"]: row["id"] for row in again.json["jobs"]}
    changed = {project for project in before if before[project] != after[project]}
    assert changed == {"app-1", "app-2", "app-4", "app-5"}


def test_a_project_that_cannot_be_submitted_is_a_row(served: Revalid, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "file").write_text("x")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"project": "good"}\n{"project": "nowhere"}\n')
    ran = served("batch", "run", manifest, "--command", "true", *LOCAL, "--json")
    assert ran.status == 1
    good, bad = ran.json["jobs"]
    assert (good["verdict"], bad["verdict"], bad["id"]) == ("passed", None, None)
    assert "no such directory" in bad["error"]


@pytest.mark.slow
def test_fail_fast_cancels_the_rest(revalid: Revalid, apps: Path) -> None:
    line = 'test "$(cat code)" = 0 && exit 1; sleep 60'
    # Three jobs sleep: with four slots one that fails runs at once, whichever is packed first.
    ran = revalid(
        *("batch", "run", apps, "--command", line, *LOCAL, "--concurrency", "4"),
        *("--fail-fast", "--json"),
    )
    assert ran.status == 1
    counts = ran.json["counts"]
    assert counts["failed"] >= 1
    assert counts["passed"] == 0
    assert counts["cancelled"] + counts["pending"] + counts["failed"] == 6


@pytest.mark.slow
def test_an_interrupted_batch_says_how_to_continue(
    revalid: Revalid, apps: Path, until: Until
) -> None:
    process = revalid.start("batch", "run", apps, "--command", "sleep 60", *LOCAL)
    until(lambda: bool(own_workers(revalid)))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    (batch,) = revalid("batch", "list", "--json").json
    assert f"batch {batch['id']}: interrupted; `revalid batch resume {batch['id']}`" in err
    cancelled = revalid("batch", "cancel", batch["id"])
    assert cancelled.status == 0
    assert revalid("batch", "status", batch["id"], "--json").json["counts"]["passed"] == 0


def test_a_dry_run_prints_the_steps(revalid: Revalid, tmp_path: Path) -> None:
    (tmp_path / "apps" / "shop").mkdir(parents=True)
    (tmp_path / "apps" / "shop" / "package.json").write_text('{"scripts": {"test": "true"}}')
    (tmp_path / "apps" / "empty").mkdir()
    ran = revalid("batch", "run", tmp_path / "apps", "--dry-run", "--json")
    assert ran.status == 1
    empty, shop = ran.json
    assert "no strategy fits" in empty["error"]
    assert (shop["strategy"], shop["steps"][-1]) == ("npm", "test")
    assert revalid("batch", "list", "--json").json == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("run", "nowhere"), "not a directory, archive"),
        (("run", ".", "--report", "pdf=x"), "--report pdf=x: write FORMAT=PATH"),
        (("status", "nobody"), "no batch has this id"),
        (("retry", "nobody", "--verdict", "bad"), "--verdict bad: no such verdict"),
        (("report", "nobody"), "name a report"),
    ],
)
def test_an_invalid_word_is_reported(revalid: Revalid, words: tuple[str, ...], error: str) -> None:
    ran = revalid("batch", *words)
    assert ran.status == 2
    assert error in ran.error
