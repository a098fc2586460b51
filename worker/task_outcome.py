"""Translates the end of a job for Celery: a state, a small result, and a few words for Flower."""

from time import time
from typing import Any

from celery import states
from celery.worker.request import Request
from celery.worker.state import task_ready

from revalid.jobs.errors import JobNotPassed
from revalid.jobs.result import JobResult, Verdict

_LONGEST = 40
"""Most characters of these words: Flower's column is as wide as its longest entry."""

_NO_ENGINE = "no Dagger engine"
"""The beginning of every message of :class:`~revalid.jobs.errors.EngineUnavailable`."""


def outcome(result: JobResult) -> dict[str, Any]:
    """Return the small result of a job that passed; it has none of the job's content.

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
    raise not_passed(result.verdict, result.explanation, small)


def not_passed(verdict: str, reason: str, small: dict[str, Any]) -> JobNotPassed:
    """Return the error that says how a job ended, in words that fit Flower's table."""
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
    """Return Celery's state of a job that did not pass."""
    cancelled = error.outcome.get("verdict") == Verdict.CANCELLED
    return str(states.REVOKED if cancelled else states.FAILURE)


class JobRequest(Request):
    """Celery's request, except that its events say in a few words how the job ended."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Publish a verdict that is not ``passed``, without traceback; leave the rest to Celery."""
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
        """Publish an event; replace the result, which Flower would print, by the verdict."""
        if type == "task-succeeded":
            fields["result"] = str(Verdict.PASSED)
        super().send_event(type, **fields)
