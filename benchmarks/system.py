"""The measured system: a broker and one worker for the benchmark alone."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from revalid.jobs.ledger.keys import worker_key
from revalid.jobs.result import JobResult
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client, JobHandle
from revalid.producer.local.workers import LocalWorker, attached
from revalid.producer.submission import prepare


class System:
    """A client of a worker that takes nobody else's jobs.

    Attributes:
        process: The worker's parent process.
    """

    def __init__(self, client: Client, worker: str, process: psutil.Process) -> None:
        self._client = client
        self._worker = worker
        self.process = process

    def submit(self, project: Path | None = None, **fields: Any) -> JobHandle:
        """Queue a job that has no earlier verdict."""
        with prepare(self._client.settings, project, fresh=True, **fields) as made:
            return self._client.send(made, worker=self._worker)

    def run(self, project: Path | None = None, **fields: Any) -> JobResult:
        """Run a job that has to pass."""
        result = self.submit(project, **fields).result(900)
        assert result.verdict == "passed", result
        return result

    async def arun(self, project: Path | None = None, **fields: Any) -> JobResult:
        """Run a job that has to pass, in a thread."""
        return await asyncio.to_thread(self.run, project, **fields)


@contextmanager
def system(home: Path, *, slots: int, sandbox: str = "dagger") -> Iterator[System]:
    """Run a worker with ``slots`` slots on an embedded broker, inside the block."""
    settings = load_settings({}, env_file=None, home=home, concurrency=slots, sandbox=sandbox)
    with attached(settings) as here, Client(here) as client:
        worker = LocalWorker(here)
        try:
            worker.wait(client)
            pid: Any = client._redis.get(worker_key(worker.name))
            yield System(client, worker.name, psutil.Process(int(pid)))
        finally:
            worker.stop()
