"""The ledger: one rule of each script at a time; ``test_ledger_model`` has all of them together."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier
from typing import Any

import pytest
from redis import Redis

from jobs.connection import broker_errors, connect
from jobs.errors import BrokerUnavailable, LeaseLost, UnknownJob
from jobs.events import read
from jobs.job import Job
from jobs.ledger import (
    LEASE_S,
    QUEUED_KEY,
    RUNNING_KEY,
    Attempt,
    Ledger,
    State,
    Submitted,
    events_key,
    job_key,
)
from jobs.result import Verdict
from tests.jobs.samples import make_job

JOB = make_job()
RESULT = '{"a": "result"}'
NOBODY = "0" * 32
OVERDUE_S = 3_600


@pytest.fixture
def queued(ledger: Ledger) -> Ledger:
    """The ledger, with the job queued."""
    assert ledger.submit(JOB, "q") is Submitted.NEW
    return ledger


@pytest.fixture
def attempt(queued: Ledger) -> Attempt:
    """The job's first attempt, running."""
    return claim(queued)


def claim(ledger: Ledger, job: Job = JOB) -> Attempt:
    made = ledger.claim(job.id, "host:1")
    assert made is not None
    return made


def finish(ledger: Ledger, attempt: Attempt, verdict: Verdict = Verdict.PASSED) -> None:
    ledger.finish(attempt, verdict, RESULT, reusable=verdict.judges_project)


def end_lease(redis: Redis, job: Job = JOB) -> None:
    """As if the job's lease had ended a while ago."""
    assert redis.zadd(RUNNING_KEY, {job.id: 1}, xx=True, ch=True) == 1


def events(redis: Redis) -> list[str]:
    return [event.type for event in read(redis, JOB.id, "0")]


def server_time(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return float(seconds + microseconds // 1000 / 1000)


def test_a_submitted_job_is_queued(queued: Ledger) -> None:
    record = queued.record(JOB.id)
    assert (record.state, record.queue, record.attempts) == (State.QUEUED, "q", 0)
    assert Job.model_validate_json(record.job) == JOB
    assert (record.verdict, record.result, record.worker) == (None, None, "")
    assert (record.started_at, record.finished_at, record.cancelled) == (None, None, False)


def test_an_identical_job_is_joined_while_it_waits(queued: Ledger, redis: Redis) -> None:
    again = make_job(labels={"app": "other"})
    assert queued.submit(again, "other") is Submitted.JOINED
    assert queued.record(JOB.id).queue == "other"
    assert Job.model_validate_json(queued.record(JOB.id).job) == JOB
    assert events(redis) == ["queued"]


def test_an_identical_job_is_joined_while_it_runs(queued: Ledger, attempt: Attempt) -> None:
    assert queued.submit(JOB, "q") is Submitted.JOINED
    assert queued.record(JOB.id).state is State.RUNNING
    finish(queued, attempt)


def test_a_different_job_is_another(queued: Ledger) -> None:
    other = make_job(nonce="1")
    assert queued.submit(other, "q") is Submitted.NEW
    claim(queued)
    assert queued.record(other.id).state is State.QUEUED


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED])
def test_a_verdict_on_the_project_is_reused(
    queued: Ledger, attempt: Attempt, verdict: Verdict
) -> None:
    finish(queued, attempt, verdict)
    before = queued.record(JOB.id)
    assert queued.submit(JOB, "q") is Submitted.REUSED
    assert queued.record(JOB.id) == before
    assert (before.verdict, before.result) == (verdict, RESULT)


@pytest.mark.parametrize(
    "verdict", [Verdict.TIMED_OUT, Verdict.CANCELLED, Verdict.REJECTED, Verdict.ERRORED]
)
def test_any_other_verdict_runs_again_from_the_start(
    queued: Ledger, attempt: Attempt, verdict: Verdict, redis: Redis
) -> None:
    queued.cancel(JOB.id)
    finish(queued, attempt, verdict)
    assert queued.submit(JOB, "r") is Submitted.NEW
    record = queued.record(JOB.id)
    assert (record.state, record.queue, record.attempts) == (State.QUEUED, "r", 0)
    assert (record.verdict, record.result, record.cancelled) == (None, None, False)
    assert (record.started_at, record.finished_at) == (None, None)
    assert events(redis) == ["queued"]
    assert redis.ttl(job_key(JOB.id)) == redis.ttl(events_key(JOB.id)) == -1
    assert redis.zrange(QUEUED_KEY, 0, -1) == [JOB.id]


def test_a_result_that_may_not_be_reused_runs_again(queued: Ledger, attempt: Attempt) -> None:
    queued.finish(attempt, Verdict.PASSED, RESULT, reusable=False)
    assert queued.submit(JOB, "q") is Submitted.NEW


def test_an_attempt_of_an_earlier_run_is_refused_in_the_next(
    queued: Ledger, attempt: Attempt
) -> None:
    finish(queued, attempt, Verdict.ERRORED)
    queued.submit(JOB, "q")
    second = claim(queued)
    assert (second.number, second.fence) == (1, attempt.fence + 1)
    with pytest.raises(LeaseLost):
        finish(queued, attempt)
    finish(queued, second, Verdict.FAILED)
    assert queued.record(JOB.id).verdict is Verdict.FAILED


def test_a_claimed_job_runs(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    record = queued.record(JOB.id)
    assert (record.state, record.worker, record.attempts) == (State.RUNNING, "host:1", 1)
    assert (attempt.job_id, attempt.number) == (JOB.id, 1)
    assert redis.zrange(QUEUED_KEY, 0, -1) == []
    assert events(redis) == ["queued", "started"]


def test_a_lease_is_as_long_as_asked_for(queued: Ledger, redis: Redis) -> None:
    before = server_time(redis)
    attempt = queued.claim(JOB.id, "host:1", lease_s=7_000)
    assert attempt is not None
    until = redis.zscore(RUNNING_KEY, JOB.id)
    assert until is not None
    assert before + 7_000 <= until / 1000 <= server_time(redis) + 7_000
    queued.beat(attempt, lease_s=9_000)
    until = redis.zscore(RUNNING_KEY, JOB.id)
    assert until is not None
    assert before + 9_000 <= until / 1000 <= server_time(redis) + 9_000


def test_a_lease_is_long_unless_told_otherwise(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    claimed = redis.zscore(RUNNING_KEY, JOB.id)
    end_lease(redis)
    queued.beat(attempt)
    for until in (claimed, redis.zscore(RUNNING_KEY, JOB.id)):
        assert until is not None
        assert until / 1000 > server_time(redis) + LEASE_S / 2


def test_a_duplicate_doorbell_finds_the_job_leased(queued: Ledger, attempt: Attempt) -> None:
    assert queued.claim(JOB.id, "host:2") is None
    record = queued.record(JOB.id)
    assert (record.worker, record.attempts) == ("host:1", 1)
    finish(queued, attempt)


def test_a_duplicate_doorbell_finds_the_job_done(queued: Ledger, attempt: Attempt) -> None:
    finish(queued, attempt)
    before = queued.record(JOB.id)
    assert queued.claim(JOB.id, "host:2") is None
    assert queued.record(JOB.id) == before


def test_a_job_that_nobody_submitted_is_unknown(ledger: Ledger, redis: Redis) -> None:
    with pytest.raises(UnknownJob, match=f"{NOBODY}: not in the ledger; submit it again"):
        ledger.claim(NOBODY, "host:1")
    with pytest.raises(UnknownJob, match=f"{NOBODY}: no such job"):
        ledger.cancel(NOBODY)
    with pytest.raises(UnknownJob, match=f"{NOBODY}: no such job"):
        ledger.record(NOBODY)
    assert redis.keys() == []


def test_an_ended_lease_is_another_attempts_chance(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    end_lease(redis)
    second = queued.claim(JOB.id, "host:2")
    assert second == Attempt(JOB.id, attempt.fence + 1, 2)
    record = queued.record(JOB.id)
    assert (record.worker, record.attempts, record.state) == ("host:2", 2, State.RUNNING)


def test_a_heartbeat_in_time_saves_an_ended_lease(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    end_lease(redis)
    assert queued.beat(attempt) is False
    assert queued.claim(JOB.id, "host:2") is None
    assert queued.reap(OVERDUE_S) == []


STALE: list[Callable[[Ledger, Attempt], Any]] = [
    lambda ledger, attempt: ledger.beat(attempt),
    lambda ledger, attempt: finish(ledger, attempt, Verdict.FAILED),
]


@pytest.mark.parametrize("act", STALE, ids=["beat", "finish"])
def test_a_stale_attempt_changes_nothing(
    queued: Ledger, attempt: Attempt, redis: Redis, act: Callable[[Ledger, Attempt], Any]
) -> None:
    end_lease(redis)
    second = claim(queued)
    before, lease = queued.record(JOB.id), redis.zscore(RUNNING_KEY, JOB.id)
    with pytest.raises(LeaseLost, match=f"{JOB.id}: attempt 1 "):
        act(queued, attempt)
    assert queued.release(attempt) is False
    assert queued.record(JOB.id) == before
    assert redis.zscore(RUNNING_KEY, JOB.id) == lease
    finish(queued, second)
    with pytest.raises(LeaseLost):
        act(queued, attempt)
    record = queued.record(JOB.id)
    assert (record.verdict, record.attempts) == (Verdict.PASSED, 2)


@pytest.mark.parametrize("act", STALE, ids=["beat", "finish"])
def test_an_attempt_whose_job_was_given_back_changes_nothing(
    queued: Ledger, attempt: Attempt, act: Callable[[Ledger, Attempt], Any]
) -> None:
    assert queued.release(attempt)
    with pytest.raises(LeaseLost):
        act(queued, attempt)
    assert queued.release(attempt) is False
    assert queued.record(JOB.id).state is State.QUEUED


def test_a_result_is_recorded_once(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    queued.finish(attempt, Verdict.FAILED, RESULT, reusable=True)
    before = queued.record(JOB.id)
    with pytest.raises(LeaseLost, match="came too late; not recorded"):
        queued.finish(attempt, Verdict.PASSED, "{}", reusable=True)
    assert queued.record(JOB.id) == before
    assert (before.state, before.verdict, before.result) == (State.DONE, Verdict.FAILED, RESULT)
    assert events(redis) == ["queued", "started", "finished"]
    assert redis.zrange(RUNNING_KEY, 0, -1) == []


def test_a_queued_job_is_cancelled_at_once(queued: Ledger, redis: Redis) -> None:
    assert queued.cancel(JOB.id) is State.QUEUED
    record = queued.record(JOB.id)
    assert (record.state, record.verdict, record.result) == (State.DONE, Verdict.CANCELLED, None)
    assert record.cancelled
    assert record.finished_at is not None
    assert queued.claim(JOB.id, "host:1") is None
    assert redis.zrange(QUEUED_KEY, 0, -1) == []
    (*_, last) = read(redis, JOB.id, "0")
    assert (last.type, last.data) == ("finished", {"verdict": "cancelled"})


def test_a_running_job_learns_of_its_cancelling_by_a_heartbeat(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    assert queued.beat(attempt) is False
    assert queued.cancel(JOB.id) is State.RUNNING
    assert queued.record(JOB.id).cancelled
    assert queued.beat(attempt) is True
    assert queued.record(JOB.id).state is State.RUNNING
    finish(queued, attempt, Verdict.CANCELLED)
    assert events(redis) == ["queued", "started", "cancelling", "finished"]


def test_cancelling_outlives_the_attempt(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    queued.cancel(JOB.id)
    end_lease(redis)
    assert queued.beat(claim(queued)) is True


def test_a_done_job_stays_as_it_is_when_cancelled(queued: Ledger, attempt: Attempt) -> None:
    finish(queued, attempt)
    before = queued.record(JOB.id)
    assert queued.cancel(JOB.id) is State.DONE
    assert queued.record(JOB.id) == before


def test_a_released_job_is_claimed_at_once(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    assert queued.release(attempt) is True
    assert queued.record(JOB.id).state is State.QUEUED
    assert redis.zrange(RUNNING_KEY, 0, -1) == []
    second = claim(queued)
    assert (second.number, second.fence) == (2, attempt.fence + 1)
    assert events(redis) == ["queued", "started", "requeued", "started"]


def test_the_reaper_returns_a_job_whose_lease_ended(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    assert queued.reap(OVERDUE_S) == []
    end_lease(redis)
    assert queued.reap(OVERDUE_S) == [JOB.id]
    assert queued.record(JOB.id).state is State.QUEUED
    assert events(redis)[-1] == "requeued"
    assert queued.reap(OVERDUE_S) == []
    assert claim(queued).number == attempt.number + 1


def test_the_reaper_names_jobs_that_wait_for_long_once_a_while(
    queued: Ledger, redis: Redis
) -> None:
    assert queued.reap(OVERDUE_S) == []
    redis.zadd(QUEUED_KEY, {JOB.id: (server_time(redis) - OVERDUE_S) * 1000})
    assert queued.reap(OVERDUE_S) == [JOB.id]
    assert queued.reap(OVERDUE_S) == []
    assert events(redis) == ["queued"]


def test_a_released_job_has_waited_since_its_release(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    before = server_time(redis)
    queued.release(attempt)
    since = redis.zscore(QUEUED_KEY, JOB.id)
    assert since is not None
    assert before <= since / 1000 <= server_time(redis)
    assert queued.reap(OVERDUE_S) == []


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


def test_a_job_started_when_its_first_attempt_did(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    redis.hset(job_key(JOB.id), "started_at", 1_000)
    queued.release(attempt)
    claim(queued)
    started = queued.record(JOB.id).started_at
    assert started is not None
    assert started.timestamp() == 1


def test_a_full_broker_changes_nothing(
    queued: Ledger, attempt: Attempt, redis: Redis, request: pytest.FixtureRequest
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
    for act in (
        lambda: queued.submit(make_job(nonce="2"), "q"),
        lambda: queued.submit(errored, "q"),
        lambda: queued.cancel(JOB.id),
        lambda: finish(queued, attempt),
    ):
        with pytest.raises(BrokerUnavailable, match="is full"), broker_errors("redis://host"):
            act()
    assert everything() == before


def test_a_full_broker_still_returns_jobs_to_the_queue(
    queued: Ledger, attempt: Attempt, redis: Redis, request: pytest.FixtureRequest
) -> None:
    end_lease(redis)
    request.getfixturevalue("full")
    assert queued.reap(OVERDUE_S) == [attempt.job_id]
    assert queued.record(JOB.id).state is State.QUEUED


def test_of_two_workers_one_claims_a_job(valkey_url: str) -> None:
    made = [make_job(nonce=str(number)) for number in range(40)]
    together = Barrier(2)

    def work(worker: str) -> tuple[list[Submitted], list[Attempt | None]]:
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
        assert sorted(pair) == [Submitted.JOINED, Submitted.NEW]
    for first, second in zip(one[1], other[1], strict=True):
        assert (first is None) != (second is None)
