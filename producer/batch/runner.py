"""Submits a batch's projects and follows their jobs, from where an earlier process stopped."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from revalid.jobs.errors import (
    BrokerUnavailable,
    PermanentError,
    QueueFull,
    ResultTimeout,
    StoreFull,
)
from revalid.jobs.result import Verdict
from revalid.jobs.task_arguments import task_arguments
from revalid.producer.batch.git import Stopped, checkout
from revalid.producer.batch.reader import BatchReader, Pace, Progress
from revalid.producer.batch.sources import GIT
from revalid.producer.batch.state import BatchStore, Plan
from revalid.producer.client import Client
from revalid.producer.submission import Submission, prepare

PACKERS = 4
_PATIENCE_S = 600.0
_RETRY_S = 1.0

Send = Callable[[Submission], str]
"""Submits a prepared job and returns its id."""


class BatchRunner(BatchReader):
    """One process's work on one batch.

    Args:
        send: Submits the jobs.
        concurrency: Projects that may be queued or running at a time; None sets no limit.
        fail_fast: Once a project did not pass, submit nothing more and cancel the others.
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
        super().__init__(client, store, plan)
        self._send = send
        self._concurrency = concurrency
        self._fail_fast = fail_fast
        self._stop = Event()
        with client._errors():
            self._rounds = store.rounds(plan.id)
        known = self.states()  # a project whose record is gone is submitted again
        self.jobs = {at: job_id for at, job_id in self.jobs.items() if job_id in known}
        self._open = {at: job_id for at, job_id in self._open.items() if job_id in known}

    def run(
        self,
        look: Callable[[Progress], None],
        check: Callable[[], None],
        waiting: Callable[[], None] = lambda: None,
    ) -> Progress:
        """Submit the remaining projects, and return when all jobs are done.

        Args:
            look: Called a few times a second, in a large batch less often.
            check: Called equally often; raises an error if no worker would take the jobs.
            waiting: Called a few times a second; an exception of it ends the run.

        Raises:
            BrokerUnavailable: The broker cannot be reached; ``resume`` continues from here.
        """
        progress = Progress(len(self._plan.entries))
        unsent = (i for i in range(progress.total) if i not in self.jobs and i not in self.errors)
        pace = Pace()
        with ThreadPoolExecutor(PACKERS, thread_name_prefix="pack") as pool:
            packing: dict[Future[str | None], int] = {}
            try:
                while True:
                    waiting()
                    self._top_up(pool, packing, unsent)
                    self._collect(packing)
                    if pace.is_due:
                        with pace.look():
                            self._look(progress)
                            look(progress)
                            if not packing and self._is_over():
                                return progress
                            check()
                    if packing:
                        wait(packing, timeout=pace.left_s, return_when=FIRST_COMPLETED)
                    else:
                        time.sleep(pace.left_s)
            finally:
                self._stop.set()
                for future in packing:
                    future.cancel()
                wait(packing)
                with suppress(Exception):  # the exception under way says more
                    self._collect(packing)

    def _look(self, progress: Progress) -> None:
        if not self._cancelled and self._is_cancelled():
            self._end_early()
        self._update(progress)
        failed = any(verdict is not Verdict.PASSED for _, verdict in progress.ended)
        if self._fail_fast and failed and not self._cancelled:
            self._end_early()

    def _end_early(self) -> None:
        self._cancelled = True
        self._stop.set()
        with self._client._errors():
            self._store.cancel(self._plan.id)  # other processes see that the rest is not submitted
        self.cancel()

    def _top_up(
        self,
        pool: ThreadPoolExecutor,
        packing: dict[Future[str | None], int],
        unsent: Iterator[int],
    ) -> None:
        """Start packing as many projects as there is room for."""
        room = PACKERS * 2 - len(packing)
        if self._concurrency is not None:
            room = min(room, self._concurrency - len(self._open) - len(packing))
        while room > 0 and not self._stop.is_set() and (at := next(unsent, None)) is not None:
            packing[pool.submit(self._submit, at)] = at
            room -= 1

    def _collect(self, packing: dict[Future[str | None], int]) -> None:
        """Record the outcomes of finished submits."""
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
            except Exception as error:  # raised after the other submits are recorded
                failure = failure or error
        if jobs or errors:
            with self._client._errors():
                self._store.record_submits(self._plan.id, jobs, errors)
            self.jobs |= jobs
            self.errors |= errors
            self._open |= jobs
            if self._cancelled:
                self._withdraw(jobs.values())
        if failure is not None:
            raise failure

    def _submit(self, at: int) -> str | None:
        """Submit one project; return None if the run stopped before anything was stored."""
        deadline = time.monotonic() + _PATIENCE_S
        try:
            with self._prepared(at) as submission:
                while not self._stop.is_set():
                    try:
                        return self._send(submission)
                    except StoreFull:  # retry: room comes when jobs of the tenant are done
                        self._stop.wait(_RETRY_S)
                    except (
                        QueueFull,
                        BrokerUnavailable,
                        ResultTimeout,
                    ):  # retry: this state passes
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
        if plan.fresh or again:  # one nonce for each run: two submits of it are one job
            options["nonce"] = f"{plan.id}.{entry.repeat}.{again}"
        is_git = GIT.match(entry.origin)
        files = checkout(entry.origin, self._stop) if is_git else nullcontext(Path(entry.origin))
        with files as path, prepare(self._client.settings, path, **options) as submission:
            shown = task_arguments(submission.job, entry.project, entry.origin)
            yield replace(submission, shown=shown)
