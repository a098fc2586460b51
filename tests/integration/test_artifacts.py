"""Artifacts from a command's files to a producer's directory, with the users of compose.yaml."""

from pathlib import Path

import pytest

from revalid.jobs.settings import load_settings
from revalid.producer.cli import artifacts as cli
from revalid.producer.client import Client
from tests.integration.composed import composed_redis
from tests.integration.conftest import StartWorker

KINDS = ["local", pytest.param("dagger", marks=pytest.mark.dagger)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_producer_downloads_the_artifacts_of_a_failed_job(
    start_worker: StartWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "file").write_text("content\n")
    with composed_redis(tmp_path) as running:
        start_worker(REVALID_BROKER_URL=running.url("worker"), REVALID_SANDBOX=kind)
        monkeypatch.setenv("REVALID_BROKER_URL", running.url("producer"))
        with Client(load_settings(env_file=None)) as client:
            handle = client.submit(
                project,
                steps=[
                    {"op": "exec", "command": "mkdir -p out/a; cp file out/a/kept; ln -s / out/up"},
                    {"op": "export_directory", "path": "out/a"},
                    {"op": "exec", "command": "exit 3"},
                ],
                artifacts=["out"],
            )
            result = handle.result(60)
        assert (result.verdict, result.notes) == ("failed", ())
        assert result.artifacts is not None
        assert (result.artifacts.files, result.artifacts.size_bytes) == (2, 16)
        target = tmp_path / "target"
        assert cli.artifacts(handle.id, target, json=True) == 0
        downloaded = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
        assert downloaded == {"out/a/kept", "exported/1/kept"}
