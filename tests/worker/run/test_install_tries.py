"""Tries of one install: bounded, within the job's time, and never for a fault of the project."""

import pytest

from revalid.jobs.result import StepResult
from revalid.worker.run import install_tries
from revalid.worker.run.install_tries import PAUSES_S, InstallTries

BUSY = StepResult(name="install", exit_code=1, stderr="npm error code E503\n")
FINE = StepResult(name="install", exit_code=0)
RED = StepResult(name="install", exit_code=1, stderr="npm error code ERESOLVE\n")


class Runs:
    """Gives the results of later tries, and keeps what was run."""

    def __init__(self, *results: StepResult) -> None:
        self.results = list(results)
        self.commands: list[str] = []

    async def __call__(self, command: str, within_s: float) -> StepResult:
        self.commands.append(command)
        return self.results.pop(0)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_tries, "PAUSES_S", (0.0,) * len(PAUSES_S))


def tries_of(runs: Runs, *, left_s: float = 60, command: str = "npm ci") -> InstallTries:
    return InstallTries(command, 10, runs, lambda: left_s)


async def test_a_registry_that_answers_again() -> None:
    runs = Runs(BUSY, FINE)
    tries = tries_of(runs)
    assert await tries.judged(BUSY) == FINE
    assert runs.commands == ["npm ci"] * 2
    assert tries.notes == ["install was tried 3 times; at first: npm error code E503"]


async def test_the_tries_are_bounded() -> None:
    """A project may print anything: it gets no more than these."""
    runs = Runs(*[BUSY] * 9)
    result = await tries_of(runs).judged(BUSY)
    assert len(runs.commands) == len(PAUSES_S)
    assert (result.status, result.ok) == ("errored", False)
    assert result.fault == "npm error code E503 (tried 3 times)"


async def test_a_fault_of_the_project_is_not_tried_again() -> None:
    runs = Runs()
    assert await tries_of(runs).judged(RED) == RED
    later = Runs(RED)
    assert await tries_of(later).judged(BUSY) == RED
    assert len(later.commands) == 1


async def test_the_jobs_time_bounds_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_tries, "PAUSES_S", (5.0,))
    runs = Runs()
    result = await tries_of(runs, left_s=4).judged(BUSY)
    assert (runs.commands, result.fault) == ([], "npm error code E503")


async def test_what_is_not_in_the_cache_is_not_tried_again() -> None:
    runs = Runs()
    offline = StepResult(name="install", exit_code=1, stderr="npm error code ENOTCACHED\n")
    assert (await tries_of(runs).judged(offline)).status == "errored"
    assert runs.commands == []


async def test_pip_is_asked_before_it_is_tried_again() -> None:
    none = "(from versions: none)\nERROR: No matching distribution found for tiny\n"
    unknown = StepResult(name="install", exit_code=1, stderr=none)
    busy = unknown.model_copy(
        update={"stdout": "Could not fetch URL http://a.example/tiny/: 503 Server Error - skipping"}
    )
    runs = Runs(busy, FINE)
    assert await tries_of(runs, command=".venv/bin/pip install .").judged(unknown) == FINE
    assert runs.commands == [".venv/bin/pip index versions -vv tiny", ".venv/bin/pip install ."]
    gone = Runs(unknown)
    assert await tries_of(gone, command=".venv/bin/pip install .").judged(unknown) == unknown
