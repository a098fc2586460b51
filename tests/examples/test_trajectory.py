"""The recorded trajectory, replayed through the client."""

import shutil

import pytest

from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.jobs.steps import Step
from revalid.producer.cli.trajectory import read_trajectory
from revalid.producer.client import Client
from tests.examples.conftest import EXAMPLES

TRAJECTORY = EXAMPLES / "trajectory" / "trajectory.jsonl"


@pytest.fixture
def steps() -> list[Step]:
    return read_trajectory(TRAJECTORY)


def test_it_shows_the_steps_of_a_small_project(steps: list[Step]) -> None:
    shown = {step.op for step in steps}
    assert shown == {
        "set_workdir",
        "write_files",
        "set_env",
        "exec",
        "read_file",
        "delete_file",
        "list_directory",
    }


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_it_passes_without_a_project(local_worker: str, steps: list[Step]) -> None:
    settings = load_settings({"REVALID_BROKER_URL": local_worker}, env_file=None)
    with Client(settings) as client:
        result = client.submit(steps=steps, strategy="trajectory").result(60)
    assert result.verdict is Verdict.PASSED, result.failed_step
    assert [step.op for step in result.steps] == [step.op for step in steps]
    outputs = {step.op: step.stdout for step in result.steps}
    assert "pass 1" in outputs["exec"]
    assert outputs["read_file"].startswith("export function greet")
    assert outputs["list_directory"] == "greet.js\ngreet.test.js\npackage.json\n"
