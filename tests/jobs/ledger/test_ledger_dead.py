"""The ledger: jobs whose worker died, and jobs that ended too many workers."""

import pytest
from redis import Redis

from revalid.jobs.errors import UnknownJob
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from revalid.jobs.result import Verdict
from tests.jobs.ledgers import JOB, Open, claim, end_lease, events, finish, reap


def test_a_dead_childs_job_is_queued_at_once(open_: Open, redis: Redis) -> None:
    ledger, rung = open_()
    ledger.submit(JOB, "q")
    assert ledger.abandon("host:1") is None
    claim(ledger)
    assert ledger.abandon("host:2") is None
    assert ledger.abandon("host:1") == JOB.id
    assert ledger.record(JOB.id).state is JobState.QUEUED
    assert ledger.abandon("host:1") is None
    assert [doorbell.job_id for doorbell in rung] == [JOB.id] * 2
    assert claim(ledger).number == 2
    assert events(redis) == ["queued", "started", "requeued", "started"]


def kill_three_workers(ledger: Ledger, redis: Redis) -> None:
    ledger.submit(JOB, "q")
    claim(ledger)
    ledger.abandon("host:1")
    claim(ledger)
    end_lease(redis)
    reap(ledger)
    claim(ledger)
    ledger.abandon("host:1")


def test_a_job_that_ended_three_workers_is_dead(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    kill_three_workers(ledger, redis)
    record = ledger.record(JOB.id)
    assert (record.state, record.verdict, record.attempts) == (JobState.DONE, Verdict.ERRORED, 3)
    assert "ended its worker 3 times, last host:1" in str(record.error)
    assert ledger.dead() == [JOB.id]
    assert events(redis)[-1] == "finished"


def test_a_dead_job_can_be_retried(open_: Open, redis: Redis) -> None:
    ledger, rung = open_()
    kill_three_workers(ledger, redis)
    ledger.retry(JOB.id)
    assert ledger.dead() == []
    record = ledger.record(JOB.id)
    assert (record.state, record.attempts, record.error) == (JobState.QUEUED, 0, None)
    assert (record.job, record.queue) == (JOB.model_dump_json(), "q")
    assert rung[-1].job_id == JOB.id
    finish(ledger, claim(ledger))
    with pytest.raises(UnknownJob, match="no dead job has this id"):
        ledger.retry(JOB.id)
    with pytest.raises(UnknownJob, match="no dead job has this id"):
        ledger.purge(JOB.id)


def test_a_dead_job_can_be_purged(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    kill_three_workers(ledger, redis)
    ledger.purge(JOB.id)
    reap(ledger)
    assert {*redis.keys()} == {"revalid:turn", "revalid:counters", "revalid:finished"}


def test_a_submit_of_a_dead_job_runs_it_again(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    kill_three_workers(ledger, redis)
    assert ledger.submit(JOB, "q") is SubmitOutcome.NEW
    assert ledger.dead() == []


def test_a_released_attempt_does_not_count_as_a_crash(open_: Open) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    for _ in range(5):
        assert ledger.release(claim(ledger), "why")
    assert ledger.record(JOB.id).state is JobState.QUEUED


def test_leases_are_left_alone_after_an_outage(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    claim(ledger)
    end_lease(redis)
    assert ledger.reap(judge=False, overdue_s=60).lost == []
    assert ledger.record(JOB.id).state is JobState.RUNNING
    assert ledger.reap(judge=True, overdue_s=60).lost == [(JOB.id, "host:1")]


def test_any_worker_may_retry_the_job_of_a_private_worker(open_: Open, redis: Redis) -> None:
    ledger, rung = open_()
    ledger.submit(JOB, "revalid.ab12.interactive")
    for _ in range(3):
        claim(ledger)
        ledger.abandon("host:1")
    ledger.retry(JOB.id)
    assert rung[-1].queue == "revalid.interactive"
