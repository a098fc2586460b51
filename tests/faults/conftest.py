"""A broker, workers and a client of each test's own."""

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
    """Give the reports of each test the number of its row, also where it is then skipped."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            mark = item.get_closest_marker("row")
            assert mark is not None, f"{item.name}: every fault is a row of the matrix"
            assert mark.args[0] in ROWS
            item.user_properties.append(("row", mark.args[0]))


@pytest.fixture
def proved(request: pytest.FixtureRequest) -> Proved:
    """Says what the test asserted, with its figures, for the row's line."""
    return lambda text: request.node.user_properties.append(("proved", text))


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def steady_broker() -> Iterator[Broker]:
    """A broker that no test harms; no lease is judged in a broker's first half minute."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as directory:
        made = Broker(Path(directory))
        made.start()
        yield made
        made.kill()


@pytest.fixture
def broker(steady_broker: Broker) -> Broker:
    """A broker that answers, and holds nothing."""
    with connect(steady_broker.url) as redis:
        redis.config_set("maxmemory", "0")
        redis.flushall()
    return steady_broker


@pytest.fixture
def fleet(broker: Broker, short: Path) -> Iterator[Fleet]:
    """No workers yet; those that are started end with the test."""
    made = Fleet(broker.url, short)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def client(broker: Broker) -> Iterator[Client]:
    """A client of the broker."""
    with Client(load_settings({}, env_file=None, broker_url=broker.url)) as made:
        yield made


@pytest.fixture
def submit(client: Client) -> Submit:
    """Submits a new job of one shell command in the local sandbox."""

    def submit(command: str = "true", **options: Any) -> JobHandle:
        steps = [{"op": "exec", "command": command}]
        made = {"sandbox": "local", "fresh": True, **options}
        return client.submit(None, steps=steps, **made)

    return submit
