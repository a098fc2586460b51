"""Reads the state of a batch's projects, whichever process submits them."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from revalid.jobs.errors import UnknownJob
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.producer.batch.job_fields import fields, gone
from revalid.producer.batch.state import BatchStore, Plan
from revalid.producer.client import Client

POLL_S = 0.3
_PAUSE_FACTOR = 10
"""Length of the pause after a look, as a multiple of the look's processor time."""


@dataclass
class Progress:
    """The state of a batch at one look.

    Attributes:
        verdicts: The number of projects with each verdict.
        ended: Position and verdict of the projects that ended since the last look.
        worked: How many of the ended projects were seen queued or running before; the others had
            their verdicts already.
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
        """Return the number of projects that are done or could not be submitted."""
        return self.verdicts.total() + self.refused


class BatchReader:
    """The jobs of one batch, as Redis has them.

    Attributes:
        jobs: Ids of the projects' jobs, by position.
        errors: Why the other projects have no job, by position.
    """

    def __init__(self, client: Client, store: BatchStore, plan: Plan) -> None:
        self._client = client
        self._store = store
        self._plan = plan
        self._cancelled = False
        self.jobs: dict[int, str] = {}
        self.errors: dict[int, str] = {}
        self._ended: dict[int, tuple[str, str]] = {}
        self._open: dict[int, str] = {}
        self._left_to_others: set[str] = set()
        self._seen_open: set[int] = set()
        self._read()

    def follow(
        self, look: Callable[[Progress], None], waiting: Callable[[], None] = lambda: None
    ) -> Progress:
        """Read until all jobs are done; another process submits them.

        Args:
            look: Called a few times a second, in a large batch less often.
            waiting: Called a few times a second; an exception of it ends the reading.

        Raises:
            BrokerUnavailable: The broker cannot be reached.
        """
        progress = Progress(len(self._plan.entries))
        pace = Pace()
        while True:
            waiting()
            if pace.is_due:
                with pace.look():
                    self._read()
                    self._cancelled |= self._is_cancelled()
                    self._update(progress)
                    look(progress)
                    if self._is_over():
                        return progress
            time.sleep(pace.left_s)

    def cancel(self) -> int:
        """Cancel all unfinished jobs that nobody else submitted; return their number."""
        states = self.states()
        return self._withdraw(job_id for job_id in states if states[job_id] is not JobState.DONE)

    def pending(self) -> list[str]:
        """Return the ids of jobs that were submitted and not seen done."""
        return list(dict.fromkeys(self._open.values()))

    def states(self) -> dict[str, JobState]:
        """Return the state of each job that is still in the ledger."""
        fields_by_job = fields(self._client, self.jobs.values(), "state")
        return {job_id: JobState(state) for job_id, (state,) in fields_by_job.items() if state}

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
            if at not in self.errors
            and at not in self._ended
            and job_id not in self._left_to_others
        }

    def _is_cancelled(self) -> bool:
        with self._client._errors():
            return self._store.is_cancelled(self._plan.id)

    def _is_over(self) -> bool:
        if self._open:
            return False
        return self._cancelled or len({*self.jobs, *self.errors}) >= len(self._plan.entries)

    def _withdraw(self, job_ids: Iterable[str]) -> int:
        """Cancel jobs that nobody else submitted; return their number."""
        number = 0
        with self._client._errors():
            for job_id in job_ids:
                with suppress(UnknownJob):
                    if self._client._ledger.withdraw(job_id, self._plan.id):
                        number += 1
                    else:  # the job goes on for others; this batch ends without it
                        self._left_to_others.add(job_id)
        self._open = {
            at: job_id for at, job_id in self._open.items() if job_id not in self._left_to_others
        }
        return number

    def _update(self, progress: Progress) -> None:
        """Read the state of open jobs, and record their verdicts."""
        progress.ended.clear()
        fields_by_job = fields(self._client, self._open.values(), "state", "verdict")
        progress.running = 0
        for at, job_id in list(self._open.items()):
            state, verdict = fields_by_job.get(job_id, (None, None))
            if state == JobState.RUNNING:
                progress.running += 1
            if state in (JobState.QUEUED, JobState.RUNNING):
                self._seen_open.add(at)
            if state is None:
                del self._open[at]
                self.errors[at] = gone(job_id)
            elif state == JobState.DONE and verdict is not None:
                del self._open[at]
                self._ended[at] = (job_id, verdict)
                progress.ended.append((at, Verdict(verdict)))
                progress.worked += at in self._seen_open
        progress.verdicts = Counter(verdict for _, verdict in self._ended.values())
        progress.submitted, progress.refused = len(self.jobs), len(self.errors)


class Pace:
    """Decides when the next look is due; expensive looks are rarer."""

    def __init__(self) -> None:
        self._next_look = 0.0

    @property
    def is_due(self) -> bool:
        """Return whether the next look is due."""
        return time.monotonic() >= self._next_look

    @property
    def left_s(self) -> float:
        """Return the seconds to wait, at most until the next look."""
        return min(POLL_S, max(0.0, self._next_look - time.monotonic()))

    @contextmanager
    def look(self) -> Iterator[None]:
        """Measure a look; the pause begins when it ends."""
        before = time.thread_time()
        yield
        cost_s = time.thread_time() - before
        self._next_look = time.monotonic() + max(POLL_S, _PAUSE_FACTOR * cost_s)
