"""``batch`` with invalid options, lost records, and two processes on one batch."""

import json
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from revalid.jobs.errors import WorkerUnavailable
from revalid.jobs.ledger.keys import job_key
from revalid.jobs.result import JobResult, StepResult, Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.report_rows import KEPT, KEPT_OF_PROJECT, shortened, slim
from revalid.producer.cli.batch import dry_run
from revalid.producer.cli.options import JobOptions
from revalid.producer.client import Client
from revalid.producer.local.workers import attached
from revalid.producer.report.builder import build
from revalid.producer.report.model import Row
from tests.producer.cli.conftest import LOCAL, Revalid, Until
from tests.registry import NAME, Registry, registry


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """Two projects."""
    for name in ("one", "two"):
        (tmp_path / "apps" / name).mkdir(parents=True)
        (tmp_path / "apps" / name / "file").write_text(name)
    return tmp_path / "apps"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--compare", "typo"), "batch typo: no batch has this id"),
        (("--compare", "x" * 300), "no batch has this id"),
        (("--concurrency", "65"), "--concurrency 65: without REVALID_BROKER_URL"),
        (("--report", "html=/none/a.html"), "--report /none/a.html: No such file or directory"),
    ],
)
def test_an_invalid_word_leaves_no_batch(
    revalid: Revalid, apps: Path, words: tuple[str, ...], error: str
) -> None:
    ran = revalid("batch", "run", apps, "--command", "true", *LOCAL, *words)
    assert (ran.status, error in ran.error) == (2, True)
    assert revalid("batch", "list", "--json").json == []


@pytest.mark.slow
def test_a_lost_record_is_reported_and_recovered(revalid: Revalid, apps: Path) -> None:
    broker = revalid("broker", "start")
    assert broker.status == 0
    ran = revalid("batch", "run", apps, "--command", "true", *LOCAL, "--json")
    batch, lost = ran.json["id"], ran.json["jobs"][0]["id"]
    settings = load_settings({"REVALID_HOME": str(revalid.home)}, env_file=None)

    def lose() -> None:
        with attached(settings) as found, Client(found) as client:
            client._redis.delete(job_key(lost))

    lose()
    status = revalid("batch", "status", batch, "--json").json
    assert (status["counts"]["not_submitted"], status["counts"]["pending"]) == (1, 0)
    assert "its record is gone" in status["jobs"][0]["error"]
    resumed = revalid("batch", "resume", batch, "--json")
    assert (resumed.status, resumed.json["counts"]["passed"]) == (0, 2)
    lose()
    again = revalid("batch", "retry", batch, "--json")
    assert (again.status, again.json["counts"]["passed"]) == (0, 2)
    assert again.json["jobs"][0]["id"] != lost
    revalid("broker", "stop")


def test_interrupted_json_is_one_document(revalid: Revalid, apps: Path, until: Until) -> None:
    process = revalid.start("batch", "run", apps, "--command", "sleep 60", *LOCAL, "--json")

    def batches() -> list[str]:
        return [each["id"] for each in revalid("batch", "list", "--json").json if each["submitted"]]

    until(lambda: bool(batches()))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(out)
    assert [document["id"]] == batches()
    assert document["error"]["kind"] == "interrupted"
    assert document["id"] in document["error"]["message"]


def test_a_cancel_ends_the_process_that_submits(revalid: Revalid, apps: Path, until: Until) -> None:
    process = revalid.start("batch", "run", apps, "--command", "sleep 60", *LOCAL, "--json")

    def batches() -> list[str]:
        return [each["id"] for each in revalid("batch", "list", "--json").json if each["submitted"]]

    until(lambda: bool(batches()))
    (batch,) = batches()
    watcher = revalid.start("batch", "watch", batch, "--json")
    assert revalid("batch", "cancel", batch).status == 0
    for each in (process, watcher):
        out, err = each.communicate(timeout=60)
        assert each.returncode == 1, err
        assert json.loads(out)["counts"]["passed"] == 0


def test_a_dry_run_continues_after_a_bad_project(revalid: Revalid, apps: Path) -> None:
    (apps / "one" / "package.json").write_text('{"scripts": {"test": "true"}}')
    ran = revalid("batch", "run", "file:///nowhere.git", apps / "one", "--dry-run", "--json")
    assert ran.status == 1
    bad, good = ran.json
    assert "git clone failed: fatal:" in bad["error"]
    assert good["strategy"] == "npm"


def test_a_dry_run_reports_that_its_process_ended(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerUnavailable, match="ended with status 1"):
        dry_run.dry_run(
            [BatchItem(project="x", origin="/x")], JobOptions(), load_settings(), json=True
        )


@pytest.mark.parametrize(
    ("formats", "passed", "failed"),
    [
        ([], (), ()),
        (["csv", "markdown"], (), ()),
        (["junit"], ("",), ("x" * 9_000,)),
        (["html", "csv"], (2_000,), ("x" * 9_000,)),
    ],
)
def test_a_report_holds_what_it_shows(
    formats: list[str], passed: tuple[object, ...], failed: tuple[str, ...]
) -> None:
    text = "x" * 9_000
    rows = [
        Row(
            project="a",
            verdict=Verdict.PASSED,
            steps=(StepResult(name="s", exit_code=0, stdout=text),),
        ),
        Row(
            project="b",
            verdict=Verdict.FAILED,
            steps=(StepResult(name="s", exit_code=1, stdout=text),),
        ),
    ]
    made = build(
        id="ab",
        name="apps",
        created_at=datetime.now(UTC),
        finished_at=None,
        rows=iter(rows),
        keep=slim(formats),
    )
    assert made.causes[0].check == "s", "found in what is not kept"
    first, second = ([step.stdout for step in row.steps] for row in made.jobs)
    kept = [text.count("x") if text else "" for text in first]
    assert tuple(kept) == passed
    assert tuple(second) == failed


@pytest.mark.parametrize(
    ("steps", "share", "kept"),
    [(16, 2**27, KEPT), (256, 2**27, 1_024), (16, 2**17, 4_096), (16, 0, 1_024)],
)
def test_a_report_keeps_less_of_each_stream_where_there_are_many(
    steps: int, share: int, kept: int
) -> None:
    step = StepResult(name="test", exit_code=1, stdout="x" * 20_000, stderr="x" * 20_000)
    now = datetime.now(UTC)
    result = JobResult(
        id="0" * 32,
        verdict=Verdict.FAILED,
        image="",
        attempts=1,
        queued_at=now,
        started_at=now,
        finished_at=now,
        steps=(step,) * steps,
    )
    streams = [text for s in shortened(result, share).steps for text in (s.stdout, s.stderr)]
    assert {text.count("x") for text in streams} == {kept}
    assert sum(text.count("x") for text in streams) <= KEPT_OF_PROJECT[1]


def test_a_batch_without_workers_is_reported_once_and_not_listed_as_done(
    revalid: Revalid, apps: Path, until: Until, tmp_path: Path
) -> None:
    url = revalid("broker", "start").out.strip()
    try:
        (tmp_path / "list.jsonl").write_text('{"project": "apps/one"}\n{"project": "apps/none"}\n')
        process = revalid.start(
            *("batch", "run", tmp_path / "list.jsonl", "--command", "true", *LOCAL),
            REVALID_BROKER_URL=url,
        )
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        said = [next(lines).strip() for _ in range(3)]
        assert any(line.startswith("✗ none  not submitted  ") for line in said), said
        assert "  0/2" not in said[0]
        waits = [line for line in said if "no worker is running" in line]
        while not waits:
            waits = [line for line in [next(lines)] if "no worker is running" in line]
        assert "`revalid worker` starts one" in waits[0]
        (batch,) = revalid("batch", "list", "--json", REVALID_BROKER_URL=url).json
        assert (batch["projects"], batch["submitted"], batch["done"]) == (2, 1, 1)
        assert batch["counts"]["not_submitted"] == 1
        shown = revalid("batch", "list", REVALID_BROKER_URL=url).out
        assert "  1/2 done  not submitted 1  " in shown
        summary = revalid("batch", "status", batch["id"], REVALID_BROKER_URL=url).out
        assert "not submitted: none" in summary
        process.kill()
        revalid("batch", "cancel", batch["id"], REVALID_BROKER_URL=url)
    finally:
        revalid("broker", "stop")


def npm_project(path: Path, busy: Registry) -> None:
    path.mkdir(parents=True)
    dependency = {"version": "1.0.0", "integrity": busy.integrity}
    dependency["resolved"] = f"{busy.url}/{NAME}/-/{NAME}-1.0.0.tgz"
    root = {"name": "app", "version": "1.0.0", "dependencies": {NAME: "1.0.0"}}
    packages = {"": root, f"node_modules/{NAME}": dependency}
    scripts = {"test": f"node -e \"process.exit(require('{NAME}') - 1)\""}
    lockfile = {"lockfileVersion": 3, "requires": True, "packages": packages}
    (path / "package.json").write_text(json.dumps({**root, "scripts": scripts}))
    (path / "package-lock.json").write_text(json.dumps({**root, **lockfile}))


def python_project(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "requirements.txt").write_text(f"{NAME}==1.0.0\n")
    (path / "check.py").write_text("import tiny_thing\n")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm projects need Node and npm")
def test_a_registry_that_is_down_errs_and_a_retry_finds_it(
    revalid: Revalid, tmp_path: Path
) -> None:
    """Real npm and pip, and a registry of the test's own."""
    apps = tmp_path / "apps"
    with registry() as busy:
        npm_project(apps / "one", busy)
        python_project(apps / "two")
        options = [
            *LOCAL,
            *("--env", f"npm_config_registry={busy.url}", "--env", "npm_config_fetch_retries=0"),
            *("--env", f"PIP_INDEX_URL={busy.url}/simple/", "--env", "PIP_RETRIES=0"),
            "--json",
        ]
        busy.trouble = 503
        single = revalid("run", apps / "one", *options)
        assert (single.status, single.json["verdict"]) == (3, "errored"), single.out
        assert single.json["steps"][0]["status"] == "errored"
        assert "install: npm error code E503; npm error 503" in single.json["error"]
        assert "(tried 3 times)" in single.json["error"]
        batch = revalid("batch", "run", apps, *options)
        assert batch.json["counts"]["errored"] == 2, batch.out
        assert [row["failed_step"] for row in batch.json["jobs"]] == ["install", "install"]

        busy.trouble = None
        again = revalid("run", apps / "one", *options)
        assert (again.status, again.json["verdict"]) == (0, "passed"), again.out
        assert not again.json["reused"]
        retried = revalid("batch", "retry", batch.json["id"], "--json")
        assert retried.json["counts"]["passed"] == 2, retried.out
