import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.errors import InvalidJob, InvalidProject, PermanentError
from revalid.jobs.job import DEFAULT_IMAGE, Job, Lane, Limits, SandboxPolicy, StrategyName
from revalid.jobs.projects.tarball import digest
from revalid.jobs.settings import Settings, load_settings
from revalid.jobs.source import PathSource, TarballSource
from revalid.jobs.steps import Exec, WriteFile
from revalid.producer.submission import prepare

SETTINGS = load_settings({}, env_file=None)


def made(project: Path | bytes | None, settings: Settings = SETTINGS, **options: Any) -> Job:
    with prepare(settings, project, **options) as submission:
        return submission.job


def tarball(*names: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return packed.getvalue()


def test_directory_is_packed_and_named_by_its_digest(project: Path) -> None:
    with prepare(SETTINGS, project) as submission:
        assert submission.tarball is not None
        source = submission.job.source
        assert isinstance(source, TarballSource)
        assert source.digest == digest(submission.tarball)
        assert source.size_bytes == submission.tarball.seek(0, 2) > 0
        submission.tarball.seek(0)
        with tarfile.open(fileobj=submission.tarball) as tar:
            assert tar.getnames() == ["hello.txt"]
    assert submission.job.strategy is StrategyName.AUTO


def test_equal_trees_are_the_same_job_and_a_changed_one_is_another(
    project: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "hello.txt").write_text("hello\n")
    assert made(copy).id == made(project).id
    (copy / "hello.txt").write_text("bye\n")
    assert made(copy).id != made(project).id


@pytest.mark.parametrize(
    "options",
    [
        {"commands": ["true"]},
        {"image": "alpine:3.22"},
        {"env": {"A": "b"}},
        {"secrets": {"A": "env://B"}},
        {"protected": ["*.lock"]},
        {"limits": Limits(command_timeout_s=5)},
        {"sandbox": "dagger"},
        {"tenant": "other"},
        {"fresh": True},
    ],
)
def test_fields_that_decide_the_outcome_make_another_job(
    project: Path, options: dict[str, Any]
) -> None:
    assert made(project, **options).id != made(project).id


def test_labels_and_lane_do_not_make_another_job(project: Path) -> None:
    assert made(project, labels={"a": "b"}, lane=Lane.BATCH).id == made(project).id


def test_commands_and_steps_choose_their_strategy(project: Path) -> None:
    commanded = made(project, commands=["a", "b"])
    assert commanded.strategy is StrategyName.COMMAND
    assert commanded.steps == (Exec(command="a"), Exec(command="b"))
    replayed = made(None, steps=[WriteFile(path="a", content=""), {"op": "exec", "command": "b"}])
    assert replayed.strategy is StrategyName.TRAJECTORY
    assert replayed.steps == (WriteFile(path="a", content=""), Exec(command="b"))
    assert replayed.source is None


def test_settings_give_what_the_caller_does_not(project: Path) -> None:
    settings = load_settings({"REVALID_IMAGE": "alpine:3.22", "REVALID_TENANT": "t"}, env_file=None)
    job = made(project, settings)
    assert (job.image, job.tenant, job.sandbox) == ("alpine:3.22", "t", None)
    assert made(project, settings, image="busybox", sandbox="local").image == "busybox"
    assert made(project, settings, sandbox="local").sandbox is SandboxPolicy.LOCAL


def test_the_default_image_is_fixed_only_where_somebody_names_it(project: Path) -> None:
    assert made(project).follows_project
    assert made(project, image="auto").id == made(project).id
    assert not made(project, image=DEFAULT_IMAGE).follows_project
    operator = load_settings({"REVALID_IMAGE": DEFAULT_IMAGE}, env_file=None)
    assert not made(project, operator).follows_project
    assert made(project, load_settings({"REVALID_IMAGE": "auto"}, env_file=None)).follows_project


def test_a_path_that_only_the_worker_sees_is_never_the_same_job() -> None:
    first, second = (made(Path("/nowhere/app"), on_worker=True) for _ in range(2))
    assert first.source == PathSource(path="/nowhere/app")
    assert first.id != second.id


def test_tarball_bytes_and_files_are_taken_as_they_are(tmp_path: Path) -> None:
    packed = tarball("a.txt")
    file = tmp_path / "a.tar.gz"
    file.write_bytes(packed)
    assert made(packed).id == made(file).id


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image": "No Such:Image"}, "image"),
        ({"env": {"A-B": "1"}}, "A-B"),
        ({"secrets": {"A": "B"}}, "secrets.A"),
        ({"limits": {"command_timeout_s": 0}}, "command_timeout_s"),
        ({"strategy": "command"}, "at least one step"),
        ({"strategy": "npm", "commands": ["true"]}, "makes its own steps"),
        ({"strategy": "gradle"}, "strategy"),
    ],
)
def test_a_wrong_job_is_found_before_its_project_is_read(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidJob, match=named):
        made(Path("/nowhere"), **options)


def test_a_job_without_project_or_steps_is_refused() -> None:
    with pytest.raises(InvalidJob, match="no project"):
        made(None)


def test_projects_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidProject, match=r"nowhere: no such directory"):
        made(tmp_path / "nowhere")
    with pytest.raises(InvalidProject, match="no files"):
        made(tmp_path)
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(tarball("a", "b")[:-20])
    with pytest.raises(InvalidProject, match=r"broken\.tar\.gz: the archive cannot be read"):
        made(broken)
    with pytest.raises(InvalidProject, match="the archive cannot be read"):
        made(b"not a tarball")
    with pytest.raises(InvalidProject, match=r"'\.\./evil' lies outside the project"):
        made(tarball("ok", "../evil"))


def test_projects_above_the_bounds_are_refused(project: Path) -> None:
    few = load_settings({"REVALID_PROJECT_FILES": "1"}, env_file=None)
    (project / "more.txt").touch()
    with pytest.raises(InvalidProject, match="REVALID_PROJECT_FILES"):
        made(project, few)
    small = load_settings({"REVALID_PROJECT_BYTES": "5"}, env_file=None)
    with pytest.raises(InvalidProject, match="REVALID_PROJECT_BYTES"):
        made(project, small)


def test_overlay_is_packed_and_named_by_its_digest(project: Path, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "a.test.ts").write_text("trusted\n")
    with prepare(SETTINGS, project) as submission:
        without = submission.job
    with prepare(SETTINGS, project, overlay=str(trusted), expect_tests=3) as submission:
        job = submission.job
        assert submission.overlay is not None
        assert job.overlay is not None
        assert job.overlay.digest == digest(submission.overlay)
    assert job.expect_tests == 3
    assert job.id != without.id
    assert not {"overlay", "expect_tests"} & without.model_dump().keys()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlay": "/nowhere"}, "overlay /nowhere: no such directory"),
        ({"expect_tests": 0}, "expect_tests"),
        ({"expect_tests": 2, "skip": ["tests"]}, "the tests are skipped"),
        ({"expect_tests": 2, "steps": [{"op": "exec", "command": "true"}]}, "no checks"),
    ],
)
def test_a_wrong_overlay_or_number_of_tests_is_refused(
    project: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PermanentError, match=words), prepare(SETTINGS, project, **options):
        pass
