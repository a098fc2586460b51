"""The web examples as their README starts them, each with a client of its own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx
import pytest

from benchmarks.backends import COMMANDS, EXAMPLES, free_port, serving

__all__ = ["EXAMPLES", "Serve"]

Serve = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module", params=COMMANDS)
def serve(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Starts an example on the broker of a URL, with more variables."""
    name: str = request.param
    log = tmp_path_factory.mktemp(name) / "log"

    @contextmanager
    def start(broker_url: str, **more: str) -> Iterator[httpx.Client]:
        port = free_port()
        with (
            serving(name, broker_url, log, port=port, **more),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
        ):
            yield client

    return start


@pytest.fixture(scope="module")
def backend(serve: Serve, local_worker: str) -> Iterator[httpx.Client]:
    """A client of an example whose jobs run."""
    with serve(local_worker) as client:
        yield client
