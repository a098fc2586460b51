"""Keeps a worker from taking jobs while its files fail, or its engine does not run a canary."""

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from celery import Celery

from revalid.jobs.job import SandboxPolicy
from revalid.jobs.settings import Settings
from revalid.worker.own_files import check_files

HEALTH_CHECK_TIMEOUT_S = 60.0
PAUSE_S = 5.0
_REPLY_S = 2.0

log = logging.getLogger("revalid.worker")


@dataclass
class EngineHealth:
    """The state of one worker's files and engine; :meth:`look` is to be called every second or so.

    A worker whose policy lets jobs run without an engine is not held back for want of one.

    Attributes:
        files: What is wrong with its files; None where nothing is.
    """

    settings: Settings
    app: Celery
    hostname: str
    queues: Sequence[str]
    files: str | None = None
    _engine: str | None = None
    _looked: float = float("-inf")
    _canary: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _consuming: bool = True

    @property
    def reason(self) -> str | None:
        """Why the worker takes no jobs; None where it does."""
        return self.files or self._engine

    def look(self, *, suspected: bool) -> None:
        """Look at files and engine where that is due, and act on what was found.

        Args:
            suspected: Engine or files failed a job since the last call, or nobody has looked yet.
        """
        if suspected or monotonic() - self._looked > PAUSE_S:
            self._looked = monotonic()
            self.files = check_files(self.settings)
        if self.settings.sandbox_policy is SandboxPolicy.DAGGER:
            self._look_at_engine(suspected=suspected)
        wanted = self.reason is None
        if wanted != self._consuming and self._tell(consume=wanted):
            self._consuming = wanted
            log.warning("%s", "takes jobs again" if wanted else f"takes no jobs: {self.reason}")

    def _look_at_engine(self, *, suspected: bool) -> None:
        due = suspected or (self._engine is not None and monotonic() - self._started > PAUSE_S)
        if self._canary is None and due:
            self._started = monotonic()
            self._canary = subprocess.Popen(
                [sys.executable, "-P", "-m", "revalid.worker.sandboxes.dagger.probe"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        if self._canary is not None:
            self._judge(self._canary)

    def close(self) -> None:
        """End a canary that runs."""
        if (canary := self._canary) is not None:
            canary.kill()
            canary.communicate()

    def _judge(self, canary: subprocess.Popen[bytes]) -> None:
        if canary.poll() is None:
            if monotonic() - self._started < HEALTH_CHECK_TIMEOUT_S:
                return
            canary.kill()
        out, _ = canary.communicate()
        self._canary = None
        self._engine = read_health_check(out)

    def _tell(self, *, consume: bool) -> bool:
        """Have Celery's consumer stop or go on; whether it answered for every queue."""
        control = self.app.control
        change = control.add_consumer if consume else control.cancel_consumer
        answers = [
            change(queue, destination=[self.hostname], reply=True, timeout=_REPLY_S)
            for queue in self.queues
        ]
        return all(answers)


def read_health_check(out: bytes) -> str | None:
    """Why the engine is not to be trusted with jobs, from what the probe printed."""
    try:
        found = json.loads(out)
    except ValueError:
        return "its canary did not end"
    # An image that cannot be had is no fault of the engine: other jobs name other images.
    healthy = found["ok"] or (found["engine"] and not found["image"])
    return None if healthy else str(found["error"])
