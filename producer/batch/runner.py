"""Submits a batch's projects and follows their jobs, from wherever an earlier process left off."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from revalid.jobs.errors import (
    BrokerUnavailable,
    PermanentError,
    QueueFull,
    ResultTimeout,
    StoreFull,
    UnknownJob,
)
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.producer.batch.git import Stopped, checkout
from revalid.producer.batch.job_fields import fields, gone
from revalid.producer.batch.sources import GIT
from revalid.producer.batch.state import BatchStore, Plan
from revalid.producer.client import Client
from revalid.producer.submission import Submission, prepare

PACKERS = 4
POLL_S = 0.3
_IDLE = 10
"""A look is followed by a pause of so many times the processor time that it took."""
_PATIENCE_S = 600.0
_RETRY_S = 1.0

Send = Callable[[Submission], str]
"""Submits a prepared job; its id."""


@dataclass
class Progress:
    """Where a batch is.

    Attributes:
        verdicts: How many projects have which verdict; ``None`` is not there.
        ended: Position and verdict of those that ended since the last look.
        worked: How many ended that were seen under way before: the others had their verdicts.
    """

    total: int
    submitted: int = 0
    refused: int = 0
    running: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    ended: list[tuple[int, Verdict]] = field(default_factory=list)
    worked: int = 0

    @property
    def done(self) -> int:
        """Projects whose jobs are done, and those that could not be submitted."""
        return self.verdicts.total() + self.refused


class BatchRunner:
    """One process's work on one batch.

    Args:
        send: How jobs are submitted; None where another process does that: nothing is submitted
            and nothing written then, and what the other one has written is read at each look.
        concurrency: Projects that may be under way at a time; None for any number.
        fail_fast: Submit nothing more once a project did not pass, and cancel the others.
    """

    def __init__(
        self,
        client: Client,
        store: BatchStore,
        plan: Plan,
        *,
        send: Send | None,
        concurrency: int | None = None,
        fail_fast: bool = False,
    ) -> None:
        self._client = client
        self._store = store
        self._plan = plan
        self._send = send
        self._concurrency = concurrency
        self._fail_fast = fail_fast
        self._stop = Event()
        self._cancelled = False
        self.jobs: dict[int, str] = {}
        self.errors: dict[int, str] = {}
        self._ended: dict[int, tuple[str, str]] = {}
        self._open: dict[int, str] = {}
        self._left: set[str] = set()
        self._waited: set[int] = set()
        with client._errors():
            self._rounds = store.rounds(plan.id)
        self._read()
        if send is not None:  # a project whose record is gone is submitted again
            known = self.states()
            self.jobs = {at: job_id for at, job_id in self.jobs.items() if job_id in known}
            self._open = {at: job_id for at, job_id in self._open.items() if job_id in known}

    def run(
        self,
        look: Callable[[Progress], None],
        check: Callable[[], None],
        waiting: Callable[[], None] = lambda: None,
    ) -> Progress:
        """Submit what is not submitted yet, and return when all jobs are done.

        Args:
            look: Called a few times a second, in a large batch less often.
            check: Called as often; raises where nobody would take the jobs.
            waiting: Called a few times a second; what it raises ends the run.

        Raises:
            JobError: The broker is not reached any more; ``resume`` goes on from here.
        """
        progress = Progress(len(self._plan.entries))
        unsent = (i for i in range(progress.total) if i not in self.jobs and i not in self.errors)
        due = 0.0
        with ThreadPoolExecutor(PACKERS, thread_name_prefix="pack") as pool:
            packing: dict[Future[str | None], int] = {}
            try:
                while True:
                    waiting()
                    self._top_up(pool, packing, unsent)
                    self._collect(packing)
                    if time.monotonic() >= due:
                        before = time.thread_time()
                        self._look(progress)
                        look(progress)
                        if not packing and self._is_over():
                            return progress
                        check()
                        cost = time.thread_time() - before
                        due = time.monotonic() + max(POLL_S, _IDLE * cost)
                    left = min(POLL_S, max(0.0, due - time.monotonic()))
                    if packing:
                        wait(packing, timeout=left, return_when=FIRST_COMPLETED)
                    else:
                        time.sleep(left)
            finally:
                self._stop.set()
                for future in packing:
                    future.cancel()
                wait(packing)
                with suppress(Exception):  # what is under way says more
                    self._collect(packing)

    def cancel(self) -> int:
        """End every job that is not done and that nobody else asked for; how many."""
        pending = [job_id for job_id, state in self.states().items() if state is not JobState.DONE]
        return self._cancel(pending)

    def pending(self) -> list[str]:
        """Ids of the jobs that were submitted and not seen done."""
        return list(dict.fromkeys(self._open.values()))

    def states(self) -> dict[str, JobState]:
        """The state of each job that the ledger still knows."""
        found = fields(self._client, self.jobs.values(), "state")
        return {job_id: JobState(state) for job_id, (state,) in found.items() if state}

    def _read(self) -> None:
        with self._client._errors():
            self.jobs = self._store.jobs(self._plan.id)
            self.errors = self._store.errors(self._plan.id)
        # A project that is run again has a job of another id.
        self._ended = {
            at: ended for at, ended in self._ended.items() if self.jobs.get(at) == ended[0]
        }
        self._open = {
            at: job_id
            for at, job_id in self.jobs.items()
            if at not in self.errors and at not in self._ended and job_id not in self._left
        }

    def _is_over(self) -> bool:
        if self._open:
            return False
        return self._cancelled or len({*self.jobs, *self.errors}) >= len(self._plan.entries)

    def _end_early(self) -> None:
        self._cancelled = True
        self._stop.set()
        if self._send is not None:
            with self._client._errors():
                self._store.cancel(self._plan.id)  # what is left is not submitted: say so
            self.cancel()

    def _cancel(self, ids: list[str]) -> int:
        ended = 0
        with self._client._errors():
            for job_id in ids:
                with suppress(UnknownJob):
                    if self._client._ledger.withdraw(job_id, self._plan.id):
                        ended += 1
                    else:  # it goes on for others, and this batch is over without it
                        self._left.add(job_id)
        self._open = {at: job_id for at, job_id in self._open.items() if job_id not in self._left}
        return ended

    def _top_up(
        self,
        pool: ThreadPoolExecutor,
        packing: dict[Future[str | None], int],
        unsent: Iterator[int],
    ) -> None:
        if self._send is None:
            return
        room = PACKERS * 2 - len(packing)
        if self._concurrency is not None:
            room = min(room, self._concurrency - len(self._open) - len(packing))
        while room > 0 and not self._stop.is_set() and (at := next(unsent, None)) is not None:
            packing[pool.submit(self._submit, self._send, at)] = at
            room -= 1

    def _collect(self, packing: dict[Future[str | None], int]) -> None:
        jobs: dict[int, str] = {}
        errors: dict[int, str] = {}
        failure: Exception | None = None
        for future in [future for future in packing if future.done()]:
            at = packing.pop(future)
            if future.cancelled():
                continue
            try:
                if (job_id := future.result()) is not None:
                    jobs[at] = job_id
            except PermanentError as error:
                errors[at] = str(error)
            except Exception as error:  # raised when what the others came to is noted
                failure = failure or error
        if jobs or errors:
            with self._client._errors():
                self._store.record_submits(self._plan.id, jobs, errors)
            self.jobs |= jobs
            self.errors |= errors
            self._open |= jobs
            if self._cancelled:
                self._cancel(list(jobs.values()))
        if failure is not None:
            raise failure

    def _submit(self, send: Send, at: int) -> str | None:
        """The job's id; None where it was stopped before anything was stored."""
        deadline = time.monotonic() + _PATIENCE_S
        try:
            with self._prepared(at) as submission:
                while not self._stop.is_set():
                    try:
                        return send(submission)
                    except StoreFull:  # until jobs of its tenant are done: they may be this batch's
                        self._stop.wait(_RETRY_S)
                    except (QueueFull, BrokerUnavailable, ResultTimeout):  # it passes in time
                        if time.monotonic() > deadline:
                            raise
                        self._stop.wait(_RETRY_S)
        except Stopped:
            pass
        return None

    @contextmanager
    def _prepared(self, at: int) -> Iterator[Submission]:
        entry, plan = self._plan.entries[at], self._plan
        again = self._rounds.get(at, 0)
        options: dict[str, Any] = {**plan.options, **entry.options}
        options["labels"] = {**plan.options.get("labels", {}), **entry.labels}
        if plan.fresh or again:  # equal for the same run: submitted twice, it is one job
            options["nonce"] = f"{plan.id}.{entry.repeat}.{again}"
        is_git = GIT.match(entry.origin)
        there = checkout(entry.origin, self._stop) if is_git else nullcontext(Path(entry.origin))
        with there as path, prepare(self._client.settings, path, **options) as made:
            yield made

    def _look(self, progress: Progress) -> None:
        if self._send is None:
            self._read()
        if not self._cancelled:
            with self._client._errors():
                cancelled = self._store.is_cancelled(self._plan.id)
            if cancelled:
                self._end_early()
        self._look_at_jobs(progress)
        progress.verdicts = Counter(verdict for _, verdict in self._ended.values())
        progress.submitted, progress.refused = len(self.jobs), len(self.errors)
        failed = any(verdict is not Verdict.PASSED for _, verdict in progress.ended)
        if self._fail_fast and failed and not self._cancelled:
            self._end_early()

    def _look_at_jobs(self, progress: Progress) -> None:
        progress.ended.clear()
        found = fields(self._client, self._open.values(), "state", "verdict")
        progress.running = 0
        for at, job_id in list(self._open.items()):
            state, verdict = found.get(job_id, (None, None))
            if state == JobState.RUNNING:
                progress.running += 1
            if state in (JobState.QUEUED, JobState.RUNNING):
                self._waited.add(at)
            if state is None:
                del self._open[at]
                self.errors[at] = gone(job_id)
            elif state == JobState.DONE and verdict is not None:
                del self._open[at]
                self._ended[at] = (job_id, verdict)
                progress.ended.append((at, Verdict(verdict)))
                progress.worked += at in self._waited
