"""Watches a worker's child processes: each must hold the job that it works on."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import psutil
from celery.concurrency.prefork import TaskPool
from celery.worker import state

from revalid.jobs.ledger.ledger import Ledger
from revalid.worker.process_names import process_name

STRAY_S = 20.0
"""Seconds that a child may need to claim or end a job; in that time it does not hold the job."""
LATE_S = 5.0
"""Seconds beyond a job's hard limit after which its child is killed."""

log = logging.getLogger("revalid.worker")


class Pool(TaskPool):
    """Celery's pool of child processes, which also replaces a child that ends while it starts."""

    def did_start_ok(self) -> bool:
        """Return True, so that Celery keeps the worker; its pool replaces the child."""
        return True


@dataclass
class _BusyChild:
    """A child with a task.

    Attributes:
        task: The job's id, and the time at which the child got it.
        held_at: When the child last held the job, or got it.
    """

    task: tuple[str, float]
    since: float
    held_at: float


class Children:
    """The children of this process that run jobs; call :meth:`check` about once a second.

    Any worker's reaper may end a lease, but each parent ends its own children that hang.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[int, psutil.Process] = {}
        self._busy: dict[int, _BusyChild] = {}
        self._stopped: dict[int, float] = {}

    def check(self, *, trusted: bool) -> None:
        """Return the jobs of dead children to the queue; end children that hang.

        Args:
            trusted: Whether Celery's list of active tasks is current: its consumer does not hang.
        """
        children = pool_children()
        for pid in self._known.keys() - children.keys():
            if job_id := self._ledger.abandon(process_name(pid)):
                log.warning("job %s: its process %d died", job_id, pid)
        self._known = children
        self._end_stopped(children)
        if not trusted:
            self._busy.clear()
            return
        self._update_busy(children)
        holds = self._ledger.holds([process_name(pid) for pid in self._busy])
        for (pid, busy), held_job in zip(self._busy.items(), holds, strict=True):
            if (reason := _reason_to_end(busy, held_job)) is not None:
                log.warning("job %s: its process %d %s: ended", busy.task[0], pid, reason)
                with suppress(psutil.NoSuchProcess):
                    children[pid].kill()

    def restart_clocks(self) -> None:
        """Start all periods again: while Redis was away, nobody could see who held which job."""
        for busy in self._busy.values():
            busy.held_at = monotonic()

    def _end_stopped(self, children: dict[int, psutil.Process]) -> None:
        """End children that have been stopped for some time.

        Celery may have sent a task to one that was idle. It is not active then, and nobody waits.
        """
        now = monotonic()
        stopped = [pid for pid, process in children.items() if _is_stopped(process)]
        self._stopped = {pid: self._stopped.get(pid, now) for pid in stopped}
        for pid, since in self._stopped.items():
            if now - since > STRAY_S:
                log.warning("process %d was stopped for %d s: ended", pid, now - since)
                with suppress(psutil.NoSuchProcess):
                    children[pid].kill()

    def _update_busy(self, children: dict[int, psutil.Process]) -> None:
        """Record the task of each child, and the time at which it got the task."""
        tasks = {
            request.worker_pid: (request.id, request.time_start)
            for request in list(state.active_requests)
        }
        now = monotonic()
        self._busy = {
            pid: busy
            if (busy := self._busy.get(pid)) is not None and busy.task == task
            else _BusyChild(task, since=now, held_at=now)
            for pid, task in tasks.items()
            if pid in children
        }


def _reason_to_end(busy: _BusyChild, held_job: tuple[str, int] | None) -> str | None:
    """Return why a child must end; None if it works on a job that it holds, within the limit."""
    now = monotonic()
    if held_job is None or held_job[0] != busy.task[0]:
        return "does not hold it any more" if now - busy.held_at > STRAY_S else None
    busy.held_at = now
    return "passed its hard limit" if now - busy.since > held_job[1] + LATE_S else None


def _is_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def pool_children() -> dict[int, psutil.Process]:
    """Return the processes that run jobs, without multiprocessing's own tracker."""
    children = {}
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word for word in process.cmdline()):
                children[process.pid] = process
    return children


def end_children(timeout_s: float) -> None:
    """Make each child return its job to the queue and end; kill those that take too long."""
    children = list(pool_children().values())
    deadline = monotonic() + timeout_s
    while children and monotonic() < deadline:
        for (
            child
        ) in children:  # the first signal makes a busy child return its job; the next ends it
            with suppress(psutil.NoSuchProcess):
                child.terminate()
        children = psutil.wait_procs(children, timeout=0.1)[1]
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
