"""A broker, workers and a client for each test."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.connection import connect
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client, JobHandle
from tests.faults.fleet import Broker, Fleet
from tests.faults.matrix import ROWS

Proved = Callable[[str], None]
Submit = Callable[..., JobHandle]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the reports of each test the number of its row, also if it is skipped."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            mark = item.get_closest_marker("row")
            assert mark is not None, f"{item.name}: every fault is a row of the matrix"
            assert mark.args[0] in ROWS
            item.user_properties.append(("row", mark.args[0]))


@pytest.fixture
def proved(request: pytest.FixtureRequest) -> Proved:
    """Return a function that records what the test proved, with figures, for the row's line."""
    return lambda text: request.node.user_properties.append(("proved", text))


@pytest.fixture
def short() -> Iterator[Path]:
    """Yield a directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def steady_broker() -> Iterator[Broker]:
    """Yield a broker that no test harms; a broker judges no lease in its first half minute."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as directory:
        harmless = Broker(Path(directory))
        harmless.start()
        yield harmless
        harmless.kill()


@pytest.fixture
def broker(steady_broker: Broker) -> Broker:
    """Return a broker that answers and is empty."""
    with connect(steady_broker.url) as redis:
        redis.config_set("maxmemory", "0")
        redis.flushall()
    return steady_broker


@pytest.fixture
def fleet(broker: Broker, short: Path) -> Iterator[Fleet]:
    """Yield a fleet without workers; the workers that a test starts end with it."""
    workers = Fleet(broker.url, short)
    try:
        yield workers
    finally:
        workers.end()


@pytest.fixture
def client(broker: Broker) -> Iterator[Client]:
    """Yield a client of the broker."""
    with Client(load_settings({}, env_file=None, broker_url=broker.url)) as connected:
        yield connected


@pytest.fixture
def submit(client: Client) -> Submit:
    """Return a function that submits a job of one shell command in the local sandbox."""

    def submit(command: str = "true", **options: Any) -> JobHandle:
        steps = [{"op": "exec", "command": command}]
        fields = {"sandbox": "local", "fresh": True, **options}
        return client.submit(None, steps=steps, **fields)

    return submit
