"""Stops a worker from taking jobs while its files fail or its engine fails a health check."""

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from celery import Celery
from redis import Redis

from revalid.jobs.job import SandboxPolicy
from revalid.jobs.ledger.keys import failure_key
from revalid.jobs.settings import Settings
from revalid.worker.own_files import check_files

HEALTH_CHECK_TIMEOUT_S = 60.0
CHECK_EVERY_S = 5.0
_REPLY_TIMEOUT_S = 2.0
_REPORT_TTL_S = 600

log = logging.getLogger("revalid.worker")


def report_failure(redis: Redis, worker: str) -> None:
    """Report to a worker's parent process that its engine or its files failed a job."""
    redis.set(failure_key(worker), 1, ex=_REPORT_TTL_S)


def take_failure_report(redis: Redis, worker: str) -> bool:
    """Return whether a failure was reported since the last call."""
    return bool(redis.getdel(failure_key(worker)))


@dataclass
class EngineHealth:
    """The state of one worker's files and engine; call :meth:`check` about once a second.

    A missing engine does not stop a worker whose policy lets jobs run without one.

    Attributes:
        files_error: The fault of the worker's files; None if they work.
    """

    settings: Settings
    app: Celery
    hostname: str
    queues: Sequence[str]
    files_error: str | None = None
    _engine_error: str | None = None
    _files_checked_at: float = float("-inf")
    _health_check: subprocess.Popen[bytes] | None = None
    _health_check_started_at: float = 0.0
    _consuming: bool = True

    @property
    def reason(self) -> str | None:
        """The reason why the worker takes no jobs; None if it takes jobs."""
        return self.files_error or self._engine_error

    def check(self, *, failure_reported: bool) -> None:
        """Check files and engine if a check is due, then stop or start taking jobs.

        Args:
            failure_reported: Whether engine or files failed a job since the last call, or were
                never checked.
        """
        if failure_reported or monotonic() - self._files_checked_at > CHECK_EVERY_S:
            self._files_checked_at = monotonic()
            self.files_error = check_files(self.settings)
        if self.settings.sandbox_policy is SandboxPolicy.DAGGER:
            self._check_engine(failure_reported=failure_reported)
        consume = self.reason is None
        if consume != self._consuming and self._set_consuming(consume=consume):
            self._consuming = consume
            log.warning("%s", "takes jobs again" if consume else f"takes no jobs: {self.reason}")

    def close(self) -> None:
        """End a running health check."""
        if (health_check := self._health_check) is not None:
            health_check.kill()
            health_check.communicate()

    def _check_engine(self, *, failure_reported: bool) -> None:
        started_ago_s = monotonic() - self._health_check_started_at
        retry_due = self._engine_error is not None and started_ago_s > CHECK_EVERY_S
        if self._health_check is None and (failure_reported or retry_due):
            self._health_check_started_at = monotonic()
            self._health_check = subprocess.Popen(
                [sys.executable, "-P", "-m", "revalid.worker.sandboxes.dagger.probe"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        if self._health_check is not None:
            self._read_when_done(self._health_check)

    def _read_when_done(self, health_check: subprocess.Popen[bytes]) -> None:
        if health_check.poll() is None:
            if monotonic() - self._health_check_started_at < HEALTH_CHECK_TIMEOUT_S:
                return
            health_check.kill()
        output, _ = health_check.communicate()
        self._health_check = None
        self._engine_error = read_health_check(output)

    def _set_consuming(self, *, consume: bool) -> bool:
        """Make Celery's consumer stop or continue; return whether it answered for every queue."""
        control = self.app.control
        change = control.add_consumer if consume else control.cancel_consumer
        answers = [
            change(queue, destination=[self.hostname], reply=True, timeout=_REPLY_TIMEOUT_S)
            for queue in self.queues
        ]
        return all(answers)


def read_health_check(output: bytes) -> str | None:
    """Return the engine's fault from the probe's output; None if the engine is healthy."""
    try:
        report = json.loads(output)
    except ValueError:
        return "its health check did not end"
    # A missing image is not the engine's fault: jobs name other images.
    healthy = report["ok"] or (report["engine"] and not report["image"])
    return None if healthy else str(report["error"])
