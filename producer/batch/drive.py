"""Submits a batch's projects and follows their jobs, from wherever an earlier process left off."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from jobs.errors import BrokerUnavailable, PermanentError, QueueFull
from jobs.record import State, job_key
from jobs.result import Verdict
from producer.batch.checkout import checkout
from producer.batch.sources import GIT
from producer.batch.store import BatchStore, Plan
from producer.client import Client
from producer.submission import Submission, prepare

PACKERS = 4
POLL_S = 0.3
_CHUNK = 500
_PATIENCE_S = 600.0

Send = Callable[[Submission], str]
"""Submits a prepared job; its id."""


@dataclass
class Progress:
    """Where a batch is.

    Attributes:
        verdicts: How many projects have which verdict; ``None`` is not there.
        ended: Position and verdict of those that ended since the last look.
    """

    total: int
    submitted: int = 0
    refused: int = 0
    running: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    ended: list[tuple[int, Verdict]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Projects whose jobs are done, and those that could not be submitted."""
        return self.verdicts.total() + self.refused


class Drive:
    """One process's work on one batch.

    Args:
        send: How jobs are submitted.
        concurrency: Projects that may be under way at a time; None for any number.
        fail_fast: Submit nothing more once a project did not pass, and cancel the others.
    """

    def __init__(
        self,
        client: Client,
        store: BatchStore,
        plan: Plan,
        *,
        send: Send,
        concurrency: int | None = None,
        fail_fast: bool = False,
    ) -> None:
        self._client = client
        self._store = store
        self._plan = plan
        self._send = send
        self._concurrency = concurrency
        self._fail_fast = fail_fast
        self._stopped = False
        with client.errors():
            self.jobs = store.jobs(plan.id)
            self.errors = store.errors(plan.id)
            self._rounds = store.rounds(plan.id)
        self._open = {i: job_id for i, job_id in self.jobs.items() if i not in self.errors}

    def run(self, look: Callable[[Progress], None], check: Callable[[], None]) -> Progress:
        """Submit what is not submitted yet, and return when all jobs are done.

        Args:
            look: Called a few times a second.
            check: Called as often; raises where nobody would take the jobs.

        Raises:
            JobError: The broker is not reached any more; ``resume`` goes on from here.
        """
        progress = Progress(len(self._plan.entries))
        waiting = (i for i in range(progress.total) if i not in self.jobs and i not in self.errors)
        with ThreadPoolExecutor(PACKERS, thread_name_prefix="pack") as pool:
            packing: dict[Future[str], int] = {}
            try:
                while True:
                    self._top_up(pool, packing, waiting)
                    self._collect(packing)
                    self._look_at_jobs(progress)
                    progress.submitted, progress.refused = len(self.jobs), len(self.errors)
                    look(progress)
                    if not packing and not self._open:
                        return progress
                    check()
                    wait(packing, timeout=POLL_S, return_when=FIRST_COMPLETED)
                    if not packing:
                        time.sleep(POLL_S)
            finally:
                self._stopped = True
                for future in packing:
                    future.cancel()

    def cancel(self) -> int:
        """Cancel every job that is not done; how many."""
        pending = [job_id for job_id, state in self.states().items() if state is not State.DONE]
        with self._client.errors():
            for job_id in pending:
                self._client.ledger.cancel(job_id)
        return len(pending)

    def pending(self) -> list[str]:
        """Ids of the jobs that were submitted and not seen done."""
        return list(dict.fromkeys(self._open.values()))

    def states(self) -> dict[str, State]:
        """The state of each job that the ledger still knows."""
        found = _fields(self._client, sorted(set(self.jobs.values())), "state")
        return {job_id: State(state) for job_id, (state,) in found.items() if state}

    def _top_up(
        self, pool: ThreadPoolExecutor, packing: dict[Future[str], int], waiting: Iterator[int]
    ) -> None:
        room = PACKERS * 2 - len(packing)
        if self._concurrency is not None:
            room = min(room, self._concurrency - len(self._open) - len(packing))
        while room > 0 and not self._stopped and (at := next(waiting, None)) is not None:
            packing[pool.submit(self._submit, at)] = at
            room -= 1

    def _collect(self, packing: dict[Future[str], int]) -> None:
        jobs: dict[int, str] = {}
        errors: dict[int, str] = {}
        for future in [future for future in packing if future.done()]:
            at = packing.pop(future)
            try:
                jobs[at] = future.result()
            except PermanentError as error:
                errors[at] = str(error)
        if jobs or errors:
            with self._client.errors():
                self._store.submitted(self._plan.id, jobs, errors)
            self.jobs |= jobs
            self.errors |= errors
            self._open |= jobs

    def _submit(self, at: int) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        with self._prepared(at) as submission:
            while True:
                try:
                    return self._send(submission)
                except (QueueFull, BrokerUnavailable):  # others' jobs make room in time
                    if self._stopped or time.monotonic() > deadline:
                        raise
                    time.sleep(1)

    @contextmanager
    def _prepared(self, at: int) -> Iterator[Submission]:
        entry, plan = self._plan.entries[at], self._plan
        again = self._rounds.get(at, 0)
        options: dict[str, Any] = {**plan.options, **entry.options}
        options["labels"] = {**plan.options.get("labels", {}), **entry.labels}
        if plan.fresh or again:  # equal for the same run: submitted twice, it is one job
            options["nonce"] = f"{plan.id}.{entry.repeat}.{again}"
        if GIT.match(entry.origin):
            with (
                checkout(entry.origin) as path,
                prepare(self._client.settings, path, **options) as made,
            ):
                yield made
        else:
            path = Path(entry.origin)
            with prepare(self._client.settings, path, **options) as made:
                yield made

    def _look_at_jobs(self, progress: Progress) -> None:
        progress.ended.clear()
        found = _fields(self._client, sorted(set(self._open.values())), "state", "verdict")
        progress.running = 0
        for at, job_id in list(self._open.items()):
            state, verdict = found.get(job_id, (None, None))
            if state == State.RUNNING:
                progress.running += 1
            if state is None:
                del self._open[at]
                self.errors[at] = f"job {job_id}: its record is gone; `batch resume` runs it again"
            elif state == State.DONE and verdict is not None:
                del self._open[at]
                progress.verdicts[verdict] += 1
                progress.ended.append((at, Verdict(verdict)))
                if self._fail_fast and verdict != Verdict.PASSED and not self._stopped:
                    self._stopped = True
                    self.cancel()


def _fields(client: Client, ids: list[str], *names: str) -> dict[str, list[str | None]]:
    """Fields of jobs' records, of those that are still there."""
    found: dict[str, list[str | None]] = {}
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        with client.errors():
            pipe = client.redis.pipeline(transaction=False)
            for job_id in chunk:
                pipe.hmget(job_key(job_id), list(names))
            rows = cast("list[list[str | None]]", pipe.execute())
        found |= {job_id: row for job_id, row in zip(chunk, rows, strict=True) if row[0]}
    return found
