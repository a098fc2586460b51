"""Starts the web examples as their README does; tests use it too."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
COMMANDS = {
    "fastapi_backend": ("-m", "uvicorn", "app:app", "--port"),
    "django_backend": ("app.py", "runserver", "--noreload"),
}


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    name: str, broker_url: str, log: Path, *, port: int, **more: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run an example on a port, on a broker, with more variables; killed in the end.

    Raises:
        RuntimeError: It did not listen within 30 s; with its log.
    """
    environ = {key: text for key, text in os.environ.items() if not key.startswith("REVALID_")}
    environ |= {"REVALID_BROKER_URL": broker_url, "PYTHONDONTWRITEBYTECODE": "1", **more}
    with (
        log.open("ab") as out,
        subprocess.Popen(
            [sys.executable, *COMMANDS[name], str(port)],
            cwd=EXAMPLES / name,
            env=environ,
            stdout=out,
            stderr=out,
        ) as server,
    ):
        try:
            _wait(server, port, log)
            yield server
        finally:
            server.kill()  # streams that are open would keep a polite end waiting


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the server did not start; its log:\n{log.read_text()}"
                ) from None
            time.sleep(0.05)
