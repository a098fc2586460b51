"""The ledger: how jobs end, return to the queue and are kept, also in a full broker."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier
from typing import Any

import pytest
from redis import Redis

from revalid.jobs.connection import broker_errors, connect
from revalid.jobs.errors import BrokerUnavailable, LeaseLost
from revalid.jobs.events import FinishedEvent, read
from revalid.jobs.ledger.keys import QUEUED_KEY, RUNNING_KEY, events_key, job_key
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt, JobState, SubmitOutcome
from revalid.jobs.result import Verdict
from tests.jobs.ledgers import (
    JOB,
    OVERDUE_S,
    RESULT,
    claim,
    end_lease,
    events,
    finish,
    reap,
    server_time,
)
from tests.jobs.samples import make_job


def test_a_result_is_recorded_once(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    queued.finish(attempt, Verdict.FAILED, RESULT, reusable=True)
    before = queued.record(JOB.id)
    queued.finish(attempt, Verdict.PASSED, "{}", reusable=True)  # its answer may have got lost
    assert queued.record(JOB.id) == before
    assert (before.state, before.verdict, before.result) == (JobState.DONE, Verdict.FAILED, RESULT)
    assert events(redis) == ["queued", "started", "finished"]
    assert redis.zrange(RUNNING_KEY, 0, -1) == []


def test_a_queued_job_is_cancelled_at_once(queued: Ledger, redis: Redis) -> None:
    assert queued.cancel(JOB.id) is JobState.QUEUED
    record = queued.record(JOB.id)
    assert (record.state, record.verdict, record.result) == (JobState.DONE, Verdict.CANCELLED, None)
    assert record.cancelled
    assert record.finished_at is not None
    assert queued.claim(JOB.id, "host:1") is None
    assert redis.zrange(QUEUED_KEY, 0, -1) == []
    (*_, last) = read(redis, JOB.id, "0")
    assert last == FinishedEvent(last.id, {"verdict": "cancelled"})


def test_a_heartbeat_reports_a_cancel(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    assert queued.beat(attempt) is False
    assert queued.cancel(JOB.id) is JobState.RUNNING
    assert queued.record(JOB.id).cancelled
    assert queued.beat(attempt) is True
    assert queued.record(JOB.id).state is JobState.RUNNING
    finish(queued, attempt, Verdict.CANCELLED)
    assert events(redis) == ["queued", "started", "cancelling", "finished"]


def test_a_cancelled_job_whose_worker_is_lost_does_not_run_again(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    queued.cancel(JOB.id)
    end_lease(redis)
    assert reap(queued) == ([JOB.id], [])
    record = queued.record(JOB.id)
    assert (record.state, record.verdict) == (JobState.DONE, Verdict.CANCELLED)
    assert "its worker ended before" in str(record.error)
    with pytest.raises(LeaseLost, match="came too late; not recorded"):
        finish(queued, attempt)


def test_a_done_job_stays_as_it_is_when_cancelled(queued: Ledger, attempt: Attempt) -> None:
    finish(queued, attempt)
    before = queued.record(JOB.id)
    assert queued.cancel(JOB.id) is JobState.DONE
    assert queued.record(JOB.id) == before


def test_a_released_job_is_claimed_at_once(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    assert queued.release(attempt, "why") is True
    assert queued.record(JOB.id).state is JobState.QUEUED
    assert redis.zrange(RUNNING_KEY, 0, -1) == []
    second = claim(queued)
    assert second.number == 2
    assert second.fence > attempt.fence
    assert events(redis) == ["queued", "started", "requeued", "started"]


def test_the_reaper_returns_a_job_whose_lease_ended(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    assert reap(queued) == ([], [])
    end_lease(redis)
    assert reap(queued) == ([JOB.id], [])
    assert queued.record(JOB.id).state is JobState.QUEUED
    assert events(redis)[-1] == "requeued"
    assert reap(queued) == ([], [])
    assert claim(queued).number == attempt.number + 1


def test_an_attempt_goes_on_after_its_lease_until_somebody_else_claims(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    end_lease(redis)
    assert reap(queued) == ([JOB.id], [])
    assert queued.beat(attempt) is False
    assert queued.record(JOB.id).state is JobState.RUNNING
    assert queued.claim(JOB.id, "host:2") is None
    end_lease(redis)
    reap(queued)
    finish(queued, attempt)
    assert queued.record(JOB.id).verdict is Verdict.PASSED
    assert queued.claim(JOB.id, "host:2") is None


def test_the_reaper_names_jobs_that_wait_for_long_once_a_while(
    queued: Ledger, redis: Redis
) -> None:
    assert reap(queued) == ([], [])
    redis.zadd("revalid:ringing:q", {JOB.id: (server_time(redis) - OVERDUE_S) * 1000})
    assert reap(queued) == ([], [JOB.id])
    assert reap(queued) == ([], [])
    assert events(redis) == ["queued"]


def test_a_done_job_is_kept_for_a_time(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    keys = job_key(JOB.id), events_key(JOB.id)
    assert [redis.ttl(key) for key in keys] == [-1, -1]
    finish(queued, attempt)
    assert all(0 < redis.pttl(key) <= 600_000 for key in keys)


def test_a_job_cancelled_before_it_ran_is_kept_for_a_time(queued: Ledger, redis: Redis) -> None:
    queued.cancel(JOB.id)
    assert all(0 < redis.pttl(key) <= 600_000 for key in (job_key(JOB.id), events_key(JOB.id)))


def test_every_time_is_the_servers(
    ledger: Ledger, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = server_time(redis)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    ledger.submit(JOB, "q")
    finish(ledger, claim(ledger))
    monkeypatch.undo()
    record = ledger.record(JOB.id)
    times: list[datetime | None] = [record.queued_at, record.started_at, record.finished_at]
    stamps = [moment.timestamp() for moment in times if moment is not None]
    assert len(stamps) == 3
    stamps = [before, *stamps, server_time(redis)]
    assert stamps == sorted(stamps)


def test_a_cancelled_job_ended_when_it_was_cancelled(queued: Ledger, redis: Redis) -> None:
    before = server_time(redis)
    queued.cancel(JOB.id)
    finished = queued.record(JOB.id).finished_at
    assert finished is not None
    assert before <= finished.timestamp() <= server_time(redis)


@pytest.mark.parametrize("lost", [True, False], ids=["worker lost", "given back"])
def test_a_job_starts_with_its_last_attempt_and_waits_are_counted_separately(
    queued: Ledger, redis: Redis, lost: bool
) -> None:
    now = int(server_time(redis) * 1000)
    redis.hset(job_key(JOB.id), "queued_at", now - 30_000)
    attempt = claim(queued)
    redis.hset(job_key(JOB.id), "started_at", now - 1_000_000)  # a slow one
    if lost:
        end_lease(redis)
        reap(queued)
    else:
        queued.release(attempt, "why")
    redis.hset(job_key(JOB.id), "waits_since", now - 12_000)
    claim(queued)
    record = queued.record(JOB.id)
    assert record.started_at is not None
    assert record.started_at.timestamp() * 1000 >= now
    assert 42 <= record.queued_s < 102
    assert record.waits_since is None


def test_a_job_that_waits_again_and_is_cancelled_did_run(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    queued.release(attempt, "its worker stops")
    assert queued.cancel(JOB.id) is JobState.QUEUED
    record = queued.record(JOB.id)
    assert record.error == (
        "cancelled while it waited to run again; attempt 1 did not finish: its worker stops"
    )
    assert record.waits_since is not None


def test_an_attempt_that_goes_on_after_its_lease_does_not_count_as_waiting(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    end_lease(redis)
    reap(queued)
    assert queued.record(JOB.id).waits_since is not None
    queued.beat(attempt)
    assert queued.record(JOB.id).waits_since is None


def test_a_full_broker_refuses_jobs(
    queued: Ledger, redis: Redis, request: pytest.FixtureRequest
) -> None:
    def everything() -> list[Any]:
        jobs = [JOB.id, errored.id]
        hashes = [redis.hgetall(job_key(job_id)) for job_id in jobs]
        streams = [redis.xrange(events_key(job_id)) for job_id in jobs]
        sets = [redis.zrange(key, 0, -1, withscores=True) for key in (QUEUED_KEY, RUNNING_KEY)]
        return [*hashes, *streams, *sets, redis.dbsize()]

    errored = make_job(nonce="1")
    queued.submit(errored, "q")
    finish(queued, claim(queued, errored), Verdict.ERRORED)
    before = everything()
    request.getfixturevalue("full")
    for job in (make_job(nonce="2"), errored):
        with pytest.raises(BrokerUnavailable, match="is full"), broker_errors("redis://host"):
            queued.submit(job, "q")
    assert everything() == before


def test_in_a_full_broker_jobs_still_end(
    queued: Ledger, redis: Redis, request: pytest.FixtureRequest
) -> None:
    others = [make_job(nonce=str(number)) for number in range(3)]
    for job in others:
        queued.submit(job, "q")
    claim(queued)
    end_lease(redis)
    request.getfixturevalue("full")
    assert reap(queued) == ([JOB.id], [])
    attempt = claim(queued)
    assert queued.beat(attempt) is False
    assert queued.release(attempt, "why")
    attempt = claim(queued)
    queued.cancel(JOB.id)
    assert queued.beat(attempt) is True
    finish(queued, attempt, Verdict.CANCELLED)
    queued.cancel(others[0].id)
    found = [queued.record(job.id).verdict for job in (JOB, others[0])]
    assert found == [Verdict.CANCELLED] * 2


def test_one_of_two_workers_claims_a_job(valkey_url: str) -> None:
    made = [make_job(nonce=str(number)) for number in range(40)]
    together = Barrier(2)

    def work(worker: str) -> tuple[list[SubmitOutcome], list[Attempt | None]]:
        with connect(valkey_url) as client:
            ledger = Ledger(client)
            submitted, claimed = [], []
            for job in made:
                together.wait(10)
                submitted.append(ledger.submit(job, "q"))
                together.wait(10)
                claimed.append(ledger.claim(job.id, worker))
        return submitted, claimed

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(work, ["host:1", "host:2"])
    for pair in zip(one[0], other[0], strict=True):
        assert sorted(pair) == [SubmitOutcome.JOINED, SubmitOutcome.NEW]
    for first, second in zip(one[1], other[1], strict=True):
        assert (first is None) != (second is None)
