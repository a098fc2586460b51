"""The workers of a batch's jobs; no job is left to a worker that has ended."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from revalid.jobs.errors import WorkerUnavailable
from revalid.jobs.job import Lane
from revalid.jobs.ledger.keys import job_key
from revalid.jobs.ledger.record import JobState
from revalid.jobs.queue import queue_name
from revalid.jobs.result import Verdict
from revalid.jobs.settings import Settings
from revalid.producer.batch.workers import BatchWorkers
from revalid.producer.client import Client
from revalid.producer.submission import Submission, prepare


@pytest.fixture
def own(settings: Settings) -> Settings:
    """Settings as ``attached`` gives them, of the session's broker."""
    return settings.model_copy(update={"embedded": True})


@pytest.fixture
def own_client(own: Settings) -> Iterator[Client]:
    with Client(own) as made:
        yield made


@pytest.fixture
def submission(own: Settings, project: Path) -> Iterator[Submission]:
    options = {"commands": ["cat hello.txt"], "sandbox": "local", "lane": Lane.BATCH}
    with prepare(own, project, **options) as made:  # type: ignore[arg-type]
        yield made


def kill_worker() -> None:
    """End the batch's own worker, which leads a session, and see that it is gone."""
    for process in psutil.Process().children():
        if "--own-queues" in process.cmdline():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def test_jobs_left_behind_are_taken_over_before_the_worker_starts(
    own: Settings,
    own_client: Client,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = own_client.send(submission, worker="0" * 16).id
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        BatchWorkers(own, own_client, None, "ab12") as provider,
        pytest.raises(WorkerUnavailable, match="status"),
    ):
        provider.start([job_id])
    queue = own_client._ledger.record(job_id).queue
    assert queue != queue_name(Lane.BATCH, "0" * 16)
    assert queue != queue_name(Lane.BATCH)


def test_jobs_that_are_gone_or_done_are_left_alone(
    own: Settings, own_client: Client, submission: Submission
) -> None:
    job_id = own_client.send(submission, worker="0" * 16).id
    own_client._ledger.cancel(job_id)
    with BatchWorkers(own, own_client, None, "ab12") as provider:
        provider.start(["f" * 32, job_id])
        record = own_client._ledger.record(job_id)
        assert (record.state, record.verdict) == (JobState.DONE, Verdict.CANCELLED)
        assert not own_client._redis.exists(job_key("f" * 32))


def test_jobs_submitted_while_the_worker_was_dead_run(
    own: Settings, own_client: Client, submission: Submission
) -> None:
    with BatchWorkers(own, own_client, 1, "ab12") as provider:
        provider.start([])
        kill_worker()
        job_id = provider.send(submission)  # nobody has noted it yet: the next check gets no id
        provider.check([])
        assert own_client.job(job_id).result(60).verdict is Verdict.PASSED
    left = map(str, own_client._redis.keys("*revalid.*"))
    assert [key for key in left if not key.startswith("revalid:serving:")] == []


def test_jobs_submitted_while_the_worker_changes_are_submitted_again(
    own: Settings, own_client: Client, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = own_client.send
    with BatchWorkers(own, own_client, 1, "ab12") as provider:
        provider.start([])
        kill_worker()
        changes: list[Callable[[], None]] = [lambda: provider.check([])]

        def late(made: Submission, *, worker: str | None = None, run: str = "") -> object:
            while changes:
                changes.pop()()
            return send(made, worker=worker, run=run)

        monkeypatch.setattr(own_client, "send", late)
        job_id = provider.send(submission)
        assert own_client.job(job_id).result(60).verdict is Verdict.PASSED
