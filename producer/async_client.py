"""The client for event loops: short calls run in a thread; waiting takes one connection."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Self, Unpack

import redis.asyncio
from anyio import to_thread

from revalid.jobs import events
from revalid.jobs.connection import connect_async
from revalid.jobs.errors import ResultTimeout
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from revalid.jobs.result import JobResult
from revalid.jobs.settings import Settings
from revalid.producer.client import Client, JobHandle, JobStatus
from revalid.producer.options import SubmitOptions


@dataclass(frozen=True, slots=True)
class AsyncJobHandle:
    """A submitted job: :class:`~revalid.producer.client.JobHandle` for event loops."""

    id: str
    client: "AsyncClient" = field(repr=False)
    outcome: SubmitOutcome | None = None

    @property
    def _sync(self) -> JobHandle:
        return JobHandle(self.id, self.client.sync, self.outcome)

    async def status(self) -> JobStatus:
        """Return the job's current state.

        Raises:
            UnknownJob: No job has this id.
        """
        return await to_thread.run_sync(self._sync.status)

    async def events(self, after: str = "0") -> AsyncIterator[events.Event]:
        """Yield the job's events after an event id, until the job is done."""
        events.check_position(after)
        done = (await self.status()).state is JobState.DONE
        while True:
            with self.client.sync._errors():
                new_events = await events.read_async(
                    self.client._redis, self.id, after, block_s=0 if done else events.BLOCK_S
                )
            for event in new_events:
                after = event.id
                yield event
                if event.last:
                    return
            if not new_events:
                if done:  # the caller has seen the last event
                    return
                done = (await self.status()).state is JobState.DONE

    async def result(self, timeout_s: float | None = None) -> JobResult:
        """Wait for the job and return its result.

        Raises:
            ResultTimeout: The job was not done after ``timeout_s`` seconds.
            UnknownJob: No job has this id.
        """
        deadline = None if timeout_s is None else monotonic() + timeout_s
        after = "0"
        while (record := await to_thread.run_sync(self._sync._record)).state is not JobState.DONE:
            left = events.BLOCK_S if deadline is None else deadline - monotonic()
            if left <= 0:
                raise ResultTimeout(
                    f"job {self.id} is still {record.state}: wait longer", job_id=self.id
                )
            with self.client.sync._errors():
                for event in await events.read_async(
                    self.client._redis, self.id, after, block_s=left
                ):
                    after = event.id
        reused = self.outcome is SubmitOutcome.REUSED
        decode = partial(self.client.sync.decode, self.id, record, reused=reused)
        return await to_thread.run_sync(decode)

    async def cancel(self) -> JobState:
        """Cancel the job; return the state that it was in. A done job stays as it is."""
        return await to_thread.run_sync(self._sync.cancel)


class AsyncClient:
    """A client of one broker for event loops.

    It takes the same arguments as :class:`~revalid.producer.client.Client`, and raises the same
    errors.
    """

    def __init__(self, settings: Settings | None = None, *, url: str | None = None) -> None:
        self.sync = Client(settings, url=url)
        self._redis: redis.asyncio.Redis = connect_async(self.sync.url)

    async def submit(
        self,
        project: Path | str | bytes | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncJobHandle:
        """Submit a project, as :meth:`revalid.producer.client.Client.submit`."""
        handle = await to_thread.run_sync(
            lambda: self.sync.submit(project, idempotency_key=idempotency_key, **options)
        )
        return AsyncJobHandle(handle.id, self, handle.outcome)

    def job(self, job_id: str) -> AsyncJobHandle:
        """Return a handle of a job that this or another process submitted."""
        return AsyncJobHandle(job_id, self)

    def events(self, job_id: str, after: str = "0") -> AsyncIterator[events.Event]:
        """Yield the events of a job after an event id, as :meth:`AsyncJobHandle.events`."""
        return self.job(job_id).events(after)

    async def ping(self) -> None:
        """Raise :class:`.BrokerUnavailable` if the broker does not answer."""
        await to_thread.run_sync(self.sync.ping)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        self.sync.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
