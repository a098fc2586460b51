"""Help, versions, and errors for mistakes that need no job."""

import io
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest

from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import LimitName, SandboxPolicy
from revalid.producer.cli.app import command
from revalid.producer.cli.options import LIMITS, JobOptions, SandboxWord
from tests.producer.cli.conftest import Revalid


def tarball(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


def test_version(revalid: Revalid) -> None:
    assert revalid("--version").out == f"revalid {version('revalid')}\n"


def test_help_names_every_command_and_imports_no_more_than_it_needs(revalid: Revalid) -> None:
    shown = revalid("--help")
    assert shown.status == 0
    for name in (*command.commands, "--version", "--install-completion"):  # type: ignore[attr-defined]
        assert name in shown.out
    assert revalid().out == shown.out
    heavy = "{'celery', 'redis', 'pydantic_settings'}"
    code = f"import sys, revalid.producer.cli; print({heavy} & {{*sys.modules}})"
    imported = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert imported.stdout == "set()\n"


def test_every_option_is_explained_and_run_has_examples(revalid: Revalid) -> None:
    def explained(found: object, path: str) -> None:
        assert getattr(found, "help", None), path
        for parameter in getattr(found, "params", ()):
            assert getattr(parameter, "help", None), f"{path} {parameter.name}"
        for name, inner in getattr(found, "commands", {}).items():
            explained(inner, f"{path} {name}")

    explained(command, "revalid")
    shown = revalid("run", "--help").out
    assert "Examples:" in shown
    assert "revalid run . --json | jq .verdict" in shown


def test_the_words_of_options_are_those_of_jobs() -> None:
    assert {*get_args(SandboxWord)} == {*SandboxPolicy}
    assert {*LIMITS} == {*LimitName}


def test_limits_are_written_as_people_write_them() -> None:
    asked = JobOptions(
        limits=["cpu=1.5", "memory=2G", "processes=500", "disk=1.5GiB", "output=64k"],
        required=["memory", "disk", "memory"],
    )
    assert asked.arguments()["limits"] == {
        "command_timeout_s": 600,
        "job_timeout_s": 3_600,
        "cpu_s": 1.5,
        "memory_bytes": 2 * 2**30,
        "processes": 500,
        "disk_bytes": 3 * 2**29,
        "output_bytes": 65_536,
        "required": ["disk", "memory"],
    }


def test_an_overlay_is_named_by_its_absolute_path() -> None:
    asked = JobOptions(overlay=Path("trusted"), expect_tests=12).arguments()
    assert (asked["overlay"], asked["expect_tests"]) == (str(Path.cwd() / "trusted"), 12)


def test_checks_and_limits_are_required_by_one_option() -> None:
    asked = JobOptions(required=["tests,memory", "build"], skip=["lint,lint"]).arguments()
    assert asked["limits"] == {
        "command_timeout_s": 600,
        "job_timeout_s": 3_600,
        "required": ["memory"],
    }
    assert (asked["require"], asked["skip"]) == (["build", "tests"], ["lint"])
    with pytest.raises(InvalidJob, match="--skip memory: no such name"):
        JobOptions(skip=["memory"]).arguments()


def test_services_are_named_by_kind_and_image() -> None:
    assert JobOptions().arguments()["services"] is None
    assert JobOptions(no_services=True).arguments()["services"] == []
    asked = JobOptions(services=["postgres", "redis=redis:8"]).arguments()["services"]
    assert asked == [{"kind": "postgres"}, {"kind": "redis", "image": "redis:8"}]
    words = ["search=search:1,port=7700,ready=/health,KEY=a=b"]
    other = {"kind": "other", "name": "search", "image": "search:1", "port": 7700}
    asked = JobOptions(services=words).arguments()["services"]
    assert asked == [{**other, "ready": "/health", "env": {"KEY": "a=b"}}]
    for word in ("search=search:1", "redis=redis:8,port=1", "search=search:1,port=x"):
        with pytest.raises(InvalidJob, match=r"--service (?:search|redis): "):
            JobOptions(services=[word]).arguments()
    with pytest.raises(InvalidJob, match="--service oracle: no such kind; use one of postgres"):
        JobOptions(services=["oracle"]).arguments()
    with pytest.raises(InvalidJob, match="exclude each other"):
        JobOptions(services=["redis"], no_services=True).arguments()


def test_completion_completes(revalid: Revalid) -> None:
    found = revalid(_REVALID_COMPLETE="complete_bash", COMP_WORDS="revalid br", COMP_CWORD="1")
    assert found.out.split() == ["broker"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runn"], "Did you mean 'run'"),
        (["run", "--colour"], "No such option: --colour"),
        (["run", ".", "--timeout", "0"], "--timeout"),
        (["run", ".", "--timeout", "soon"], "--timeout"),
        (["run", ".", "--strategy", "gradle"], "strategy: 'gradle' is none of auto, trpc, npm"),
        (["run", ".", "--sandbox", "docker"], "--sandbox"),
        (["run", ".", "--env", "WORD"], "--env: 'WORD' is not a pair; write NAME=VALUE"),
        (["run", ".", "--env", "=hunter2"], "--env: a value without a name"),
        (["run", ".", "--env", "A=1", "--env", "A=2"], "--env: A is given twice"),
        (["run", ".", "--env", "A-B=1"], "'A-B' is not a variable name"),
        (["run", ".", "--max", "memory"], "--max: 'memory' is not a pair"),
        (["run", ".", "--max", "ram=1G"], "--max ram: no such limit; use one of cpu, memory"),
        (["run", ".", "--max", "memory=lots"], "--max memory=lots: not an amount; write it as"),
        (["run", ".", "--max", "processes=2G"], "--max processes=2G: not an amount"),
        (["run", ".", "--max", "processes=1.5"], "limits.processes"),
        (["run", ".", "--max", "memory=1M"], "limits.memory_bytes"),
        (["run", ".", "--require", "cpu"], "requires cpu, but sets no cpu_s"),
        (
            ["run", ".", "--require", "luck"],
            "--require luck: no such name; use one or more of build",
        ),
        (["run", ".", "--label", "x"], "--label: 'x' is not a pair"),
        (["run", ".", "--secret", "TOKEN=abc"], "secrets.TOKEN"),
        (["run", ".", "--image", "No:Such:Image"], "image 'No:Such:Image' is not an image"),
        (["run", ".", "--command", " "], "blank"),
        (["run", ".", "--command", "x", "--strategy", "npm"], "--command and --strategy npm"),
        (["run", "nowhere"], "project nowhere: no such directory"),
        (["submit", "here", "--on-worker"], "--on-worker here: give the absolute path"),
        (["replay"], "Missing argument 'TRAJECTORY'"),
        (["replay", "nowhere"], "trajectory nowhere: No such file"),
        (["broker"], "Missing command"),
    ],
)
def test_mistakes_are_one_line_and_store_nothing(
    revalid: Revalid, arguments: list[str], said: str
) -> None:
    ran = revalid(*arguments)
    assert ran.status == 2
    assert said in ran.error
    assert "hunter2" not in ran.err
    assert ran.out == ""
    assert not revalid.home.exists()


def test_projects_that_are_none_store_nothing(revalid: Revalid, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "it has no files" in revalid("run", empty).error
    garbage = tmp_path / "garbage.tar.gz"
    garbage.write_bytes(b"\x1f\x8b\x08 nonsense")
    assert "cannot be read" in revalid("run", garbage).error
    evil = tarball(tmp_path / "evil.tar.gz", "../evil")
    assert "'../evil' lies outside the project" in revalid("submit", evil).error
    assert not revalid.home.exists()


def test_an_unknown_setting_is_named(revalid: Revalid) -> None:
    ran = revalid("run", ".", REVALID_BROKER_ULR="redis://x")
    assert ran.status == 2
    assert "REVALID_BROKER_ULR is not a setting: did you mean REVALID_BROKER_URL?" in ran.error


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["run", "nowhere", "--json"], "invalid_project"),
        (["run", "--nonsense", "--json"], "usage"),
        (["run", "--env", "A", "--json"], "invalid_job"),
    ],
)
def test_with_json_a_mistake_is_a_document(
    revalid: Revalid, arguments: list[str], kind: str
) -> None:
    ran = revalid(*arguments)
    assert ran.status == 2
    assert ran.json["error"]["kind"] == kind
    assert ran.json["error"]["message"] in ran.error


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", ".", "--command", "true"],
        ["submit", ".", "--command", "true"],
        ["status", "0" * 32],
        ["result", "0" * 32],
        ["logs", "0" * 32, "--follow"],
        ["cancel", "0" * 32],
        ["worker"],
        ["flower"],
    ],
)
def test_no_command_waits_for_a_broker_that_is_gone(
    revalid: Revalid, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    ran = revalid(*arguments, REVALID_BROKER_URL="redis://:hunter2@127.0.0.1:1/0")
    assert ran.status == 3
    assert "broker redis://:***@127.0.0.1:1/0 cannot be reached" in ran.error
    assert "correct REVALID_BROKER_URL" in ran.error


def test_an_unknown_job_is_bad_input(revalid: Revalid) -> None:
    for name in ("status", "result", "logs", "cancel"):
        ran = revalid(name, "no-such-job")
        assert ran.status == 2
        assert "job no-such-job: no such job" in ran.error


def test_a_home_that_cannot_be_used_is_named(revalid: Revalid, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = revalid("run", ".", "--command", "true", REVALID_HOME=str(tmp_path / "file"))
    assert ran.status == 3
    assert str(tmp_path / "file") in ran.error
