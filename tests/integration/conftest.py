"""Real brokers, real workers as processes, and what they leave behind."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from jobs.connection import connect
from jobs.settings import load_settings
from producer.client import Client


def eventually(holds: Callable[[], object], within_s: float = 30) -> None:
    """Wait until a condition holds; fail where it does not in time."""
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
        """The processes that run jobs."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def sessions(self) -> list[psutil.Process]:
        """Their engine sessions."""
        everything = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in everything if "session" in process.cmdline()]


StartWorker = Callable[..., Worker]


@pytest.fixture
def client(valkey_url: str) -> Iterator[Client]:
    """A client of an empty broker."""
    with Client(load_settings({}, env_file=None, broker_url=valkey_url)) as made:
        yield made


@pytest.fixture
def start_worker(valkey_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers of ``client``'s broker; they end with the test, and leave nothing."""
    with ExitStack() as stack:

        def start(**environ: str) -> Worker:
            settings = {
                "REVALID_BROKER_URL": valkey_url,
                "REVALID_EMBEDDED": "true",
                "REVALID_HOME": str(tmp_path / "home"),
                "REVALID_CONCURRENCY": "1",
            }
            own = {k: v for k, v in os.environ.items() if not k.startswith("REVALID_")}
            log = tmp_path / f"worker-{len(list(tmp_path.glob('worker-*')))}.log"
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker", "--exit-with-parent"],
                cwd=tmp_path,
                env={**own, **settings, **environ},
                stdin=subprocess.PIPE,
                stdout=stack.enter_context(log.open("wb")),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(end_worker, process)
            with connect(environ.get("REVALID_BROKER_URL", valkey_url)) as redis:
                pid = str(process.pid)
                keys = "revalid:worker:*"
                eventually(lambda: any(redis.get(k) == pid for k in redis.scan_iter(keys)))
            return Worker(process, log)

        yield start


def end_worker(process: subprocess.Popen[bytes]) -> None:
    """Have a worker end as with its parent; it may leave no process."""
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
