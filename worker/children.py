"""A worker's child processes, as their parent sees them: each is held to what the ledger says."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import psutil
from celery.concurrency.prefork import TaskPool
from celery.worker import state

from revalid.jobs.ledger.ledger import Ledger
from revalid.worker.executor import process_name

STRAY_S = 20.0
"""Seconds that a child may work on a job that it does not hold: claiming it, or ending it."""
LATE_S = 5.0
"""Seconds beyond a job's hard limit."""

log = logging.getLogger("revalid.worker")


class Pool(TaskPool):
    """Celery's pool of child processes, in which a child that ends early is one like any other."""

    def did_start_ok(self) -> bool:
        """Say yes: Celery would end the worker, but its pool replaces the child a moment later."""
        return True


@dataclass
class _Busy:
    """A child at a task.

    Attributes:
        task: The job, and when the child was given it.
        held_at: When the child last held the job, or was given it.
    """

    task: tuple[str, float]
    since: float
    held_at: float


class Children:
    """The children of this process that run jobs; :meth:`look` is to be called every second or so.

    Whose reaper ended a lease does not matter: each parent ends its own children that hang.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[int, psutil.Process] = {}
        self._busy: dict[int, _Busy] = {}

    def look(self, *, trusted: bool) -> None:
        """Return the jobs of children that have died; end those that work on what is not theirs.

        Args:
            trusted: What Celery says of its children is of now: its consumer does not hang.
        """
        children = pool_children()
        for pid in self._known.keys() - children.keys():
            if job_id := self._ledger.abandon(process_name(pid)):
                log.warning("job %s: its process %d died", job_id, pid)
        self._known = children
        if not trusted:
            self._busy.clear()
            return
        self._notice(children)
        holds = self._ledger.holds([process_name(pid) for pid in self._busy])
        for (pid, busy), held in zip(self._busy.items(), holds, strict=True):
            if (reason := _wrong(busy, held)) is not None:
                log.warning("job %s: its process %d %s: ended", busy.task[0], pid, reason)
                with suppress(psutil.NoSuchProcess):
                    children[pid].kill()

    def forget(self) -> None:
        """Redis was away: nothing is known of who held what meanwhile."""
        for busy in self._busy.values():
            busy.held_at = monotonic()

    def _notice(self, children: dict[int, psutil.Process]) -> None:
        """Which children are at which tasks, and since when."""
        tasks = {
            request.worker_pid: (request.id, request.time_start)
            for request in list(state.active_requests)
        }
        now = monotonic()
        self._busy = {
            pid: busy
            if (busy := self._busy.get(pid)) is not None and busy.task == task
            else _Busy(task, since=now, held_at=now)
            for pid, task in tasks.items()
            if pid in children
        }


def _wrong(busy: _Busy, held: tuple[str, int] | None) -> str | None:
    """Why a child is to be ended; None where it works on what it holds, and within its limit."""
    now = monotonic()
    if held is None or held[0] != busy.task[0]:
        return "does not hold it any more" if now - busy.held_at > STRAY_S else None
    busy.held_at = now
    return "passed its hard limit" if now - busy.since > held[1] + LATE_S else None


def pool_children() -> dict[int, psutil.Process]:
    """The processes that run jobs, but not multiprocessing's own tracker."""
    found = {}
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word for word in process.cmdline()):
                found[process.pid] = process
    return found
