"""The ledger: submits, claims and leases; ``test_ledger_model`` combines everything."""

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from revalid.jobs.errors import LeaseLost, QueueFull, UnknownJob
from revalid.jobs.job import Job
from revalid.jobs.ledger.keys import QUEUED_KEY, RUNNING_KEY, events_key, job_key
from revalid.jobs.ledger.ledger import LEASE_S, Ledger
from revalid.jobs.ledger.record import Attempt, JobState, SubmitOutcome
from revalid.jobs.result import Verdict
from tests.jobs.ledgers import JOB, RESULT, claim, end_lease, events, finish, reap, server_time
from tests.jobs.samples import make_job

NOBODY = "0" * 32


def test_a_submitted_job_is_queued(queued: Ledger) -> None:
    record = queued.record(JOB.id)
    assert (record.state, record.queue, record.attempts) == (JobState.QUEUED, "q", 0)
    assert Job.model_validate_json(record.job) == JOB
    assert (record.verdict, record.result, record.worker) == (None, None, "")
    assert (record.started_at, record.finished_at, record.cancelled) == (None, None, False)


def test_an_identical_job_is_joined_while_it_waits(queued: Ledger, redis: Redis) -> None:
    again = make_job(labels={"app": "other"})
    assert queued.submit(again, "other") is SubmitOutcome.JOINED
    assert queued.record(JOB.id).queue == "other"
    assert Job.model_validate_json(queued.record(JOB.id).job) == JOB
    assert events(redis) == ["queued"]


def test_an_identical_job_is_joined_while_it_runs(queued: Ledger, attempt: Attempt) -> None:
    assert queued.submit(JOB, "q") is SubmitOutcome.JOINED
    assert queued.record(JOB.id).state is JobState.RUNNING
    finish(queued, attempt)


def test_a_different_job_is_queued_separately(queued: Ledger) -> None:
    other = make_job(nonce="1")
    assert queued.submit(other, "q") is SubmitOutcome.NEW
    claim(queued)
    assert queued.record(other.id).state is JobState.QUEUED


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED])
def test_a_verdict_on_the_project_is_reused(
    queued: Ledger, attempt: Attempt, verdict: Verdict
) -> None:
    finish(queued, attempt, verdict)
    before = queued.record(JOB.id)
    assert queued.submit(JOB, "q") is SubmitOutcome.REUSED
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
    assert queued.submit(JOB, "r") is SubmitOutcome.NEW
    record = queued.record(JOB.id)
    assert (record.state, record.queue, record.attempts) == (JobState.QUEUED, "r", 0)
    assert (record.verdict, record.result, record.cancelled) == (None, None, False)
    assert (record.started_at, record.finished_at) == (None, None)
    assert events(redis) == ["queued"]
    assert redis.ttl(job_key(JOB.id)) == redis.ttl(events_key(JOB.id)) == -1
    assert redis.zrange(QUEUED_KEY, 0, -1) == [JOB.id]


def test_a_result_that_may_not_be_reused_runs_again(queued: Ledger, attempt: Attempt) -> None:
    queued.finish(attempt, Verdict.PASSED, RESULT, reusable=False)
    assert queued.submit(JOB, "q") is SubmitOutcome.NEW


def test_an_attempt_of_an_earlier_run_is_refused_in_the_next(
    queued: Ledger, attempt: Attempt
) -> None:
    finish(queued, attempt, Verdict.ERRORED)
    queued.submit(JOB, "q")
    second = claim(queued)
    assert second.number == 1
    assert second.fence > attempt.fence
    with pytest.raises(LeaseLost):
        finish(queued, attempt)
    finish(queued, second, Verdict.FAILED)
    assert queued.record(JOB.id).verdict is Verdict.FAILED


def test_many_jobs_are_submitted_as_each_alone_would_be(redis: Redis) -> None:
    doorbells: list[str] = []
    ledger = Ledger(redis, ring=lambda doorbell: doorbells.append(doorbell.job_id))
    done, running, *new = (make_job(nonce=str(number)) for number in range(20))
    for job in (done, running):
        ledger.submit(job, "q")
    finish(ledger, claim(ledger, done))
    doorbells.clear()
    submitted = ledger.submit_all([running, *new, done, new[0]], "q")
    expected = [SubmitOutcome.JOINED, *(SubmitOutcome.NEW for _ in new), SubmitOutcome.REUSED]
    assert submitted == [*expected, SubmitOutcome.JOINED]
    assert doorbells == [job.id for job in new[:15]]
    assert Job.model_validate_json(ledger.record(new[-1].id).job) == new[-1]
    assert ledger.submit_all([], "q") == []


def test_many_jobs_are_refused_above_the_bound(redis: Redis) -> None:
    ledger = Ledger(redis, queued_jobs=2)
    jobs = [make_job(nonce=str(number)) for number in range(3)]
    with pytest.raises(QueueFull, match=jobs[2].id):
        ledger.submit_all(jobs, "q")
    assert redis.zcard(QUEUED_KEY) == 2
    assert ledger.submit_all(jobs[:2], "q") == [SubmitOutcome.JOINED, SubmitOutcome.JOINED]


def test_a_claimed_job_runs(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
    record = queued.record(JOB.id)
    assert (record.state, record.worker, record.attempts) == (JobState.RUNNING, "host:1", 1)
    assert (attempt.job_id, attempt.number) == (JOB.id, 1)
    assert redis.zrange(QUEUED_KEY, 0, -1) == []
    assert events(redis) == ["queued", "started"]


def test_a_lease_has_the_requested_length(queued: Ledger, redis: Redis) -> None:
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


def test_a_lease_is_long_by_default(queued: Ledger, attempt: Attempt, redis: Redis) -> None:
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


def test_another_attempt_may_claim_after_the_lease(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    end_lease(redis)
    assert queued.claim(JOB.id, "host:2") is None
    assert reap(queued) == ([JOB.id], [])
    second = queued.claim(JOB.id, "host:2")
    assert second is not None
    assert (second.number, second.fence > attempt.fence) == (2, True)
    record = queued.record(JOB.id)
    assert (record.worker, record.attempts, record.state) == ("host:2", 2, JobState.RUNNING)


def test_a_heartbeat_in_time_saves_an_ended_lease(
    queued: Ledger, attempt: Attempt, redis: Redis
) -> None:
    end_lease(redis)
    assert queued.beat(attempt) is False
    assert queued.claim(JOB.id, "host:2") is None
    assert reap(queued) == ([], [])


STALE: list[Callable[[Ledger, Attempt], Any]] = [
    lambda ledger, attempt: ledger.beat(attempt),
    lambda ledger, attempt: finish(ledger, attempt, Verdict.FAILED),
]


@pytest.mark.parametrize("act", STALE, ids=["beat", "finish"])
def test_a_stale_attempt_changes_nothing(
    queued: Ledger, attempt: Attempt, redis: Redis, act: Callable[[Ledger, Attempt], Any]
) -> None:
    end_lease(redis)
    reap(queued)
    second = claim(queued)
    before, lease = queued.record(JOB.id), redis.zscore(RUNNING_KEY, JOB.id)
    with pytest.raises(LeaseLost, match=f"{JOB.id}: attempt 1 "):
        act(queued, attempt)
    assert queued.release(attempt, "why") is False
    assert queued.record(JOB.id) == before
    assert redis.zscore(RUNNING_KEY, JOB.id) == lease
    finish(queued, second)
    with pytest.raises(LeaseLost):
        act(queued, attempt)
    record = queued.record(JOB.id)
    assert (record.verdict, record.attempts) == (Verdict.PASSED, 2)
    queued.append(attempt, "output", "{}")
    assert "output" not in events(redis)


@pytest.mark.parametrize("act", STALE, ids=["beat", "finish"])
def test_an_attempt_whose_job_was_given_back_changes_nothing(
    queued: Ledger, attempt: Attempt, act: Callable[[Ledger, Attempt], Any]
) -> None:
    assert queued.release(attempt, "why")
    with pytest.raises(LeaseLost):
        act(queued, attempt)
    assert queued.release(attempt, "why") is False
    assert queued.record(JOB.id).state is JobState.QUEUED
