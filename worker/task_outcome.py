"""How a job's end looks to Celery: a state, a small result, and a few words for Flower."""

from time import time
from typing import Any

from celery import states
from celery.worker.request import Request
from celery.worker.state import task_ready

from revalid.jobs.errors import JobNotPassed
from revalid.jobs.result import JobResult, Verdict

_LONGEST = 40
"""Characters of the words: Flower's column is as wide as the longest of a page."""

_NO_ENGINE = "no Dagger engine"
"""How the reasons of :class:`~revalid.jobs.errors.EngineUnavailable` begin."""


def outcome(result: JobResult) -> dict[str, Any]:
    """What Celery's result backend keeps of a job that passed: nothing of the job's content.

    Raises:
        JobNotPassed: The job did not pass.
    """
    small = {
        "verdict": result.verdict,
        "failed_step": result.failed_step,
        "sandbox": result.sandbox.kind,
        "job": result.id,
    }
    if result.verdict is Verdict.PASSED:
        return small
    raise not_passed(result.verdict, result.error or result.failed_step or "", small)


def not_passed(verdict: str, reason: str, small: dict[str, Any]) -> JobNotPassed:
    """The error that says how a job ended, in words that fit Flower's table."""
    reason = reason if verdict != Verdict.CANCELLED else ""  # the state says it
    first = " ".join(reason.partition("; ")[0].split())
    first = "".join(letter if letter.isprintable() else "?" for letter in first)
    if first.startswith(_NO_ENGINE):
        first = "no engine"
    words = f"{verdict}: {first}" if first else str(verdict)
    if len(words) > _LONGEST:
        words = f"{words[: _LONGEST - 1]}…"
    return JobNotPassed(words, small)


def celery_state(error: JobNotPassed) -> str:
    """Celery's state of a job that did not pass."""
    cancelled = error.outcome.get("verdict") == Verdict.CANCELLED
    return str(states.REVOKED if cancelled else states.FAILURE)


class JobRequest(Request):
    """Celery's, but its events say in a few words how the job ended, and without a traceback."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish a verdict as what it is; everything else is Celery's to handle."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # a child wraps it
        if not isinstance(error, JobNotPassed):
            return super().on_failure(exc_info, *args, **kwargs)
        task_ready(self)
        self.acknowledge()
        end: dict[str, Any] = {
            "result": str(error),
            "runtime": time() - (self.time_start or time()),
        }
        if celery_state(error) == states.REVOKED:
            self.send_event("task-revoked", terminated=True, signum=None, expired=False, **end)
        else:
            self.send_event("task-failed", **end)
        return None

    def send_event(self, type: str, **fields: Any) -> None:
        """Publish an event; the verdict alone stands for a result that Flower would print."""
        if type == "task-succeeded":
            fields["result"] = str(Verdict.PASSED)
        super().send_event(type, **fields)
