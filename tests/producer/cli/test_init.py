"""The configuration of a project, as somebody new uses it."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from revalid.jobs.configuration import Configuration
from revalid.producer.cli.init import configuration_text
from tests.producer.cli.conftest import LOCAL, Revalid

PACKAGE = {
    "scripts": {"build": "node build.js", "test": "node --test"},
    "devDependencies": {"pg": "8"},
}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A project with a build and tests."""
    app = tmp_path / "app"
    app.mkdir()
    (app / "package.json").write_text(json.dumps(PACKAGE))
    return app


def test_init_writes_what_was_found_and_the_plan_stays(revalid: Revalid, app: Path) -> None:
    before = revalid("run", app, "--dry-run", "--json").json
    ran = revalid("init", app)
    assert (ran.status, ran.out) == (0, f"wrote {app}/revalid.toml\n")
    text = (app / "revalid.toml").read_text()
    assert tomllib.loads(text) == {"require": ["build", "tests"], "services": ["postgres"]}
    assert "# steps: install, build, test\n" in text
    (after,) = revalid("run", app, "--dry-run", "--json").json
    assert after["notes"][0] == "revalid.toml configures this job: require, services"
    assert [after["checks"]] == [plan["checks"] for plan in before]
    again = revalid("init", app)
    assert (again.status, again.error) == (2, f"{app}/revalid.toml exists: --force replaces it")
    assert (app / "revalid.toml").read_text() == text
    (app / "revalid.toml").write_text("nonsense = 1")
    assert revalid("init", app, "--force").status == 0
    assert (app / "revalid.toml").read_text() == text


def test_init_does_not_make_a_second_configuration(revalid: Revalid, app: Path) -> None:
    (app / "package.json").write_text(json.dumps({**PACKAGE, "revalid": {"skip": ["lint"]}}))
    ran = revalid("init", app, "--force")
    assert ran.error == f"{app}/package.json has a configuration: change that one"
    assert not (app / "revalid.toml").exists()


def test_what_init_writes_is_valid_with_every_line() -> None:
    plan = {
        "strategy": "npm",
        "reason": "a\nskip = 3\x1b[2J\u2028b",
        "image": "node:24-alpine3.22",
        "services": ["redis"],
        "checks": [{"name": "t\nx", "check": "tests", "skipped_reason": None, "decides": True}],
    }
    text = configuration_text(plan)
    assert tomllib.loads(text) == {"require": ["tests"], "services": ["redis"]}
    keys = ("# image", "# expect", "# artifacts", "# [", "# LOG", "# name", "# run", "# path")
    lines = [
        line.removeprefix("# ") if line.startswith((*keys, "# node")) else line
        for line in text.splitlines()
    ]
    Configuration.model_validate(tomllib.loads("\n".join(lines)))
    assert tomllib.loads(configuration_text({"error": "no strategy fits"})) == {}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("\nskp = ['lint']", "revalid.toml:2: skp: no such key: did you mean 'skip'?"),
        ("skip = ['test']", "revalid.toml:1: skip.0: 'test' is none of "),
    ],
)
def test_a_mistake_is_named_before_anything_runs(
    revalid: Revalid, app: Path, text: str, error: str
) -> None:
    (app / "revalid.toml").write_text(text)
    ran = revalid("run", app)
    assert ran.status == 2
    assert error in ran.error
    assert not revalid.home.exists()


def test_a_matrix_runs_one_job_for_each_entry(revalid: Revalid, app: Path) -> None:
    (app / "revalid.toml").write_text("[matrix]\nnode = [20, 22, 18]")
    plans = revalid("run", app, "--dry-run", "--json").json
    assert [plan["project"] for plan in plans] == [
        "app [node 20]",
        "app [node 22]",
        "app [node 18]",
    ]
    assert [plan["image"].partition("-")[0] for plan in plans] == ["node:20", "node:22", "node:18"]


@pytest.fixture
def two_versions(app: Path) -> Path:
    """A project whose matrix has a version that this machine has, and one that it has not."""
    (app / "package.json").write_text('{"scripts": {"test": "node --test"}}')
    (app / "a.test.js").write_text("require('node:test')('a', () => {})")
    shown = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    major = shown.stdout.removeprefix("v").partition(".")[0]
    other = "18" if major != "18" else "20"
    (app / "revalid.toml").write_text(f"[matrix]\nnode = [{major}, {other}]")
    return app


@pytest.mark.slow
def test_each_verdict_is_printed_and_the_worst_counts(revalid: Revalid, two_versions: Path) -> None:
    ran = revalid("run", two_versions, *LOCAL)
    assert ran.status == 3
    assert ran.out.count("matrix: node ") == 2
    assert "\npassed in " in ran.out
    assert "\nerrored in " in ran.out


@pytest.mark.slow
def test_all_results_are_one_document(revalid: Revalid, two_versions: Path) -> None:
    results = revalid("run", two_versions, *LOCAL, "--json").json
    assert [result["verdict"] for result in results] == ["passed", "errored"]


@pytest.mark.slow
def test_in_a_batch_each_entry_is_a_project(revalid: Revalid, two_versions: Path) -> None:
    ran = revalid("batch", "run", two_versions, *LOCAL, "--json").json
    assert (ran["counts"]["passed"], ran["counts"]["errored"]) == (1, 1)
    assert all(row["project"].startswith("app [node ") for row in ran["jobs"])


@pytest.mark.dagger
@pytest.mark.slow
def test_each_entry_runs_in_its_image(revalid: Revalid, app: Path) -> None:
    (app / "package.json").write_text('{"scripts": {"test": "node --test"}}')
    (app / "a.test.js").write_text("require('node:test')('a', () => {})")
    (app / "revalid.toml").write_text("[matrix]\nnode = [20, 22]")
    results = revalid("run", app, "--sandbox", "dagger", "--json").json
    assert [result["verdict"] for result in results] == ["passed", "passed"]
    versions = [result["tools"]["node"].partition(".")[0] for result in results]
    assert versions == ["v20", "v22"]
