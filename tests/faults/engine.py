"""Finds the Dagger engine's process by its socket, kills it and freezes it."""

import os
import shlex
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.conftest import RUNNER_HOST

RESTART = "FAULTS_ENGINE_RESTART"
"""Names a command that starts the killed engine again, and returns once it answers."""

PID = "FAULTS_ENGINE_PID"
"""Names a command that prints the engine's process id where its socket does not tell."""

RESTART_S = 150


class EngineProcess:
    """The engine's process, on this machine and visible to the test."""

    def __init__(self) -> None:
        self.process = psutil.Process(_find())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze with SIGSTOP while inside: connections stay, and the engine does not answer."""
        self.process.suspend()
        try:
            yield
        finally:
            self.process.resume()

    def kill(self) -> None:
        """Kill with SIGKILL; skip the test if no command can start the engine again."""
        if not os.environ.get(RESTART):
            pytest.skip(f"no {RESTART}: it names the command that starts a killed engine again")
        self.process.send_signal(signal.SIGKILL)

    def restart(self) -> "subprocess.Popen[bytes]":
        """Start the operator's restart command; the caller waits for its end."""
        return subprocess.Popen(
            shlex.split(os.environ[RESTART]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )


def _find() -> int:
    if command := os.environ.get(PID):
        process = subprocess.run(
            shlex.split(command), capture_output=True, check=True, text=True, timeout=30
        )
        return int(process.stdout)
    host = os.environ.get(RUNNER_HOST, "")
    if not host.startswith("unix://"):
        pytest.skip(f"the engine's process is not known: no {PID}, and {RUNNER_HOST} is no socket")
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(host.removeprefix("unix://"))
        size = struct.calcsize("3i")
        # Who listens, also where that is a container with names of its own.
        peer = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid = int(struct.unpack("3i", peer)[0])
    if pid == 0:
        pytest.skip(f"the engine's process is not visible from here: no {PID}")
    return pid
