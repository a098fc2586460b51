"""The system under measurement: a broker and one worker of the benchmark's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jobs.result import JobResult
from jobs.settings import load_settings
from producer.client import Client, JobHandle
from producer.embedded import OwnWorker, attached
from producer.submission import prepare


class System:
    """A client of a worker that takes nobody else's jobs."""

    def __init__(self, client: Client, worker: str) -> None:
        self._client = client
        self._worker = worker

    def submit(self, project: Path | None = None, **fields: Any) -> JobHandle:
        """Queue a job that has no earlier verdict."""
        with prepare(self._client.settings, project, fresh=True, **fields) as made:
            return self._client.send(made, worker=self._worker)

    async def run(self, project: Path | None = None, **fields: Any) -> JobResult:
        """Run a job that has to pass."""

        def work() -> JobResult:
            return self.submit(project, **fields).result(900)

        result = await asyncio.to_thread(work)
        assert result.verdict == "passed", result
        return result


@asynccontextmanager
async def system(home: Path, *, slots: int) -> AsyncIterator[System]:
    """A worker with ``slots`` slots while inside, on an embedded broker."""
    settings = load_settings({}, env_file=None, home=home, concurrency=slots)
    with attached(settings) as here, Client(here) as client:
        worker = OwnWorker(here)
        try:
            await asyncio.to_thread(worker.wait, client)
            yield System(client, worker.name)
        finally:
            worker.stop()
