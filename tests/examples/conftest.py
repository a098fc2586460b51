"""The web examples as their README starts them, each with a client of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = {
    "fastapi_backend": ("-m", "uvicorn", "app:app", "--port"),
    "django_backend": ("app.py", "runserver", "--noreload"),
}

Serve = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module", params=COMMANDS)
def serve(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """Starts an example on the broker of a URL, with more variables."""
    name: str = request.param
    log = tmp_path_factory.mktemp(name) / "log"

    @contextmanager
    def start(broker_url: str, **more: str) -> Iterator[httpx.Client]:
        environ = {key: text for key, text in os.environ.items() if not key.startswith("REVALID_")}
        environ |= {"REVALID_BROKER_URL": broker_url, "PYTHONDONTWRITEBYTECODE": "1", **more}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        with (
            log.open("wb") as out,
            subprocess.Popen(
                [sys.executable, *COMMANDS[name], str(port)],
                cwd=EXAMPLES / name,
                env=environ,
                stdout=out,
                stderr=out,
            ) as server,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
        ):
            try:
                _wait(server, port, log)
                yield client
            finally:
                server.terminate()

    return start


@pytest.fixture(scope="module")
def backend(serve: Serve, local_worker: str) -> Iterator[httpx.Client]:
    """A client of an example whose jobs run."""
    with serve(local_worker) as client:
        yield client


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start; its log:\n{log.read_text()}", pytrace=False)
            time.sleep(0.05)
