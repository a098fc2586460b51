"""The verdict of a job whose attempt ends by an error that nothing foresaw."""

from types import SimpleNamespace
from typing import Any

import pytest
from redis import RedisError

from revalid.jobs.job import parse_job
from revalid.jobs.ledger.record import Attempt, decode_record
from revalid.jobs.result import JobResult, Verdict
from revalid.worker.executor import JobExecutor

JOB = parse_job({"strategy": "trajectory", "steps": [{"op": "exec", "command": "true"}]})


class Broken(JobExecutor):
    """Runs no job: it fails with an error instead."""

    def __init__(self, error: Exception) -> None:
        fields = {"job": JOB.model_dump_json(), "queue": "q", "state": "running", "queued_at": "1"}
        self._error = error
        self._url = ""
        self._ledger: Any = SimpleNamespace(record=lambda _: decode_record(fields))
        self._resources: Any = SimpleNamespace(settings=SimpleNamespace(signing_key=None))

    def _run(self, *_: Any) -> JobResult | None:
        raise self._error

    def _record(self, attempt: Attempt, result: JobResult) -> JobResult | None:
        return result


def test_an_unforeseen_error_is_a_verdict_at_once() -> None:
    result = Broken(KeyError("x"))._execute(Attempt(JOB.id, 1, 1), lambda _: None)
    assert result is not None
    assert (result.verdict, result.error) == (
        Verdict.ERRORED,
        "KeyError in the worker: see its log",
    )


def test_an_error_of_the_broker_is_no_verdict() -> None:
    with pytest.raises(RedisError):
        Broken(RedisError("x"))._execute(Attempt(JOB.id, 1, 1), lambda _: None)
