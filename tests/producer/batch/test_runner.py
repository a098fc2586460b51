"""One process's work on a batch: it submits, follows and cancels only its own jobs."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.errors import BrokerUnavailable, ResultTimeout, StoreFull
from revalid.jobs.ledger.keys import job_key
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.producer.batch import runner as module
from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.reader import POLL_S, Progress
from revalid.producer.batch.runner import BatchRunner
from revalid.producer.batch.state import BatchStore, Plan
from revalid.producer.client import Client
from revalid.producer.submission import Submission, prepare
from tests.producer.batch.batches import NUMBER, judge, judge_all


def recorded(client: Client) -> set[str]:
    """Ids of the jobs that the ledger knows."""
    return {str(key).rpartition(":")[2] for key in client._redis.keys(job_key("*"))}


def nothing() -> None:
    """Do nothing: workers take the jobs."""


def test_few_at_a_time_are_all_submitted(
    client: Client, store: BatchStore, plan: Plan, send: Callable[[Submission], str]
) -> None:
    drive = BatchRunner(client, store, plan, send=send, concurrency=1)
    most = 0

    def look(progress: Progress) -> None:
        nonlocal most
        most = max(most, len(drive.pending()))
        judge_all(client, drive)(progress)

    assert drive.run(look, nothing).verdicts == {"passed": NUMBER}
    assert most == 1


def test_a_project_whose_record_is_gone_is_submitted_again(
    client: Client, store: BatchStore, plan: Plan, send: Callable[[Submission], str]
) -> None:
    first = BatchRunner(client, store, plan, send=send)
    first.run(judge_all(client, first), nothing)
    client._redis.delete(job_key(first.jobs[1]))
    sent: list[str] = []

    def counted(submission: Submission) -> str:
        sent.append(send(submission))
        return sent[-1]

    again = BatchRunner(client, store, plan, send=counted)
    assert again.run(judge_all(client, again), nothing).verdicts == {"passed": NUMBER}
    assert sent == [first.jobs[1]]


def test_a_job_that_is_being_cancelled_is_awaited(
    client: Client,
    store: BatchStore,
    plan: Plan,
    send: Callable[[Submission], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    refused: list[str] = []

    def once(submission: Submission) -> str:
        if submission.job.id not in refused:
            refused.append(submission.job.id)
            raise ResultTimeout("is being cancelled")
        return send(submission)

    drive = BatchRunner(client, store, plan, send=once)
    assert drive.run(judge_all(client, drive), nothing).verdicts == {"passed": NUMBER}


def test_submitted_jobs_are_recorded_before_an_error_is_raised(
    client: Client,
    store: BatchStore,
    plan: Plan,
    send: Callable[[Submission], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", -1)
    together = threading.Barrier(module.PACKERS)
    turn = iter(range(NUMBER))

    def fails_first(submission: Submission) -> str:
        mine = next(turn)
        if mine < module.PACKERS:
            together.wait(30)
        if mine == 0:
            raise BrokerUnavailable("away")
        return send(submission)

    drive = BatchRunner(client, store, plan, send=fails_first)
    with pytest.raises(BrokerUnavailable):
        drive.run(lambda _: None, nothing)
    queued = recorded(client)
    assert queued == set(store.jobs(plan.id).values())
    assert len(queued) >= module.PACKERS - 1


def test_fail_fast_leaves_nothing_running(
    client: Client, store: BatchStore, plan: Plan, send: Callable[[Submission], str]
) -> None:
    sending, ended = threading.Event(), threading.Event()
    turn = iter(range(NUMBER))

    def slowly(submission: Submission) -> str:
        if next(turn) == 0:
            return send(submission)
        sending.set()
        ended.wait(30)
        return send(submission)

    drive = BatchRunner(client, store, plan, send=slowly, fail_fast=True)

    def look(progress: Progress) -> None:
        if progress.ended:
            ended.set()
        elif sending.is_set():
            for job_id in drive.pending():
                judge(client, job_id, Verdict.FAILED)

    drive.run(look, nothing)
    ids = recorded(client)
    assert {client._ledger.record(job_id).state for job_id in ids} == {JobState.DONE}
    assert len(ids) > 1


def test_fail_fast_sends_nothing_that_was_being_packed(
    client: Client,
    store: BatchStore,
    plan: Plan,
    send: Callable[[Submission], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended, turn = threading.Event(), iter(range(NUMBER))

    def slowly(*args: Any, **options: Any) -> AbstractContextManager[Submission]:
        if next(turn) > 0:
            ended.wait(30)
        return prepare(*args, **options)

    monkeypatch.setattr(module, "prepare", slowly)
    drive = BatchRunner(client, store, plan, send=send, fail_fast=True)

    def look(progress: Progress) -> None:
        if progress.ended:
            ended.set()
        for job_id in drive.pending():
            judge(client, job_id, Verdict.FAILED)

    assert drive.run(look, nothing).verdicts == {"failed": 1}
    assert len(recorded(client)) == 1


def test_a_cancel_by_another_process_stops_the_submitter(
    client: Client, store: BatchStore, plan: Plan, send: Callable[[Submission], str]
) -> None:
    drive = BatchRunner(client, store, plan, send=send, concurrency=2)

    def look(progress: Progress) -> None:
        if progress.submitted and not store.is_cancelled(plan.id):
            store.cancel(plan.id)

    progress = drive.run(look, nothing)
    assert progress.verdicts == {"cancelled": progress.submitted}
    assert 0 < progress.submitted <= 2


def test_a_stopped_batch_ends_its_clones(
    client: Client,
    store: BatchStore,
    plan: Plan,
    send: Callable[[Submission], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "git").write_text(f"#!/bin/sh\ntouch {tmp_path}/cloning; exec sleep 100\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    plan.entries[:] = [BatchItem(project="x", origin="https://example.org/x")]

    def interrupt(_: Progress) -> None:
        if (tmp_path / "cloning").exists():
            raise KeyboardInterrupt

    drive = BatchRunner(client, store, plan, send=send)
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        drive.run(interrupt, nothing)
    assert time.monotonic() - before < 30
    assert (store.jobs(plan.id), store.errors(plan.id)) == ({}, {})


def test_looking_is_bounded_in_number_and_cost(
    client: Client, store: BatchStore, plan: Plan, send: Callable[[Submission], str]
) -> None:
    looks = 0
    drive = BatchRunner(client, store, plan, send=send)

    def look(progress: Progress) -> None:
        nonlocal looks
        looks += 1
        spent = time.thread_time() + 0.1  # as many jobs would take
        while looks < 3 and time.thread_time() < spent:
            pass
        if looks >= 3:
            judge_all(client, drive)(progress)

    before = time.monotonic()
    drive.run(look, nothing)
    # Two looks of 0.1 s of work each, and ten times as long a pause after each.
    took = time.monotonic() - before
    assert took > 2.0
    assert looks <= 2 + (took - 2.0) / POLL_S + 1


def test_a_cancelled_batch_leaves_the_job_that_somebody_else_submitted(
    client: Client, store: BatchStore, plan: Plan, send: Callable[[Submission], str]
) -> None:
    origin = Path(plan.entries[2].origin)
    theirs = client.submit(origin, commands=["true"], lane="batch").id
    drive = BatchRunner(client, store, plan, send=send)

    def look(progress: Progress) -> None:
        if progress.submitted == NUMBER:
            store.cancel(plan.id)

    assert drive.run(look, nothing).verdicts == {"cancelled": NUMBER - 1}
    assert theirs in drive.jobs.values()
    assert drive.states()[theirs] is JobState.QUEUED


def test_projects_wait_for_room_in_redis(
    client: Client, store: BatchStore, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.0)
    refused = 0

    def full_at_first(submission: Submission) -> str:
        nonlocal refused
        refused += 1
        if refused <= NUMBER:
            raise StoreFull("no room")
        return client.send(submission, run="ab12").id

    drive = BatchRunner(client, store, plan, send=full_at_first)
    assert drive.run(judge_all(client, drive), nothing).verdicts == {"passed": NUMBER}


def test_reused_verdicts_do_not_count_for_the_pace(
    client: Client, store: BatchStore, plan: Plan, send: Callable[[Submission], str]
) -> None:
    drive = BatchRunner(client, store, plan, send=send)
    seen: dict[str, list[int]] = {"ran": [], "again": []}

    def look(progress: Progress) -> None:
        if progress.submitted == NUMBER:
            judge_all(client, drive)(progress)
        seen["ran"].append(progress.worked)

    assert drive.run(look, nothing).worked == NUMBER
    again = BatchRunner(client, store, plan, send=send)
    assert again.run(lambda progress: seen["again"].append(progress.worked), nothing).done == NUMBER
    assert set(seen["again"]) == {0}
