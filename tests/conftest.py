"""What every package's tests share."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import cache

import pytest
import pytest_asyncio

from worker import sandbox
from worker.engine import Engine

RUNNER_HOST = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"


@cache
def _why_no_engine() -> str | None:
    if not os.environ.get(RUNNER_HOST) and shutil.which("dagger") is None:
        return f"set {RUNNER_HOST} or put the dagger CLI on PATH"
    probe = [sys.executable, "-m", "worker.probe"]
    answer = subprocess.run(probe, capture_output=True, check=True, timeout=100)
    error = json.loads(answer.stdout)["error"]
    return None if error is None else str(error)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked ``dagger`` where no engine answers, in one line for all.

    ``REVALID_REQUIRE_DAGGER=1`` fails it instead. In a hook, for a skip that a fixture raises is
    reported once for each test.
    """
    if item.get_closest_marker("dagger") is None or (why := _why_no_engine()) is None:
        return
    if os.environ.get("REVALID_REQUIRE_DAGGER") == "1":
        pytest.fail(f"NO DAGGER ENGINE: {why}", pytrace=False)
    pytest.skip(f"NO DAGGER ENGINE: {why}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def dagger_engine() -> AsyncIterator[Engine]:
    """The engine of the tests marked ``dagger``; they run in the session's loop, as it does."""
    engine = Engine(timeout_s=30)
    yield engine
    await engine.close()


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second between SIGTERM and SIGKILL where the sandbox reads it at run time."""
    monkeypatch.setattr(sandbox, "KILL_GRACE_S", 0.5)
