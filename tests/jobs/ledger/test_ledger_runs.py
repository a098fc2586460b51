"""Submitters of a job: a run that ends cancels only jobs that nobody else submitted."""

import pytest
from redis import Redis

from revalid.jobs.errors import UnknownJob
from revalid.jobs.ledger.keys import job_key
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from tests.jobs.ledgers import JOB, claim, end_lease, reap

LANE = "revalid.interactive"
OWN, OTHER = "revalid.aa11.interactive", "revalid.bb22.interactive"
OWN_BATCH = "revalid.cc33.batch"


def submit(ledger: Ledger, queue: str, run: str = "") -> SubmitOutcome:
    return ledger.submit(JOB, queue, run=run)


def announce(ledger: Ledger, queue: str, slots: int = 1) -> None:
    ledger.announce(f"worker of {queue}", [queue], slots=slots)


def overdue(ledger: Ledger) -> None:
    """Run a reaper when doorbells were not answered."""
    ledger.reap(judge=True, overdue_s=0)


def where(ledger: Ledger) -> tuple[JobState, str]:
    record = ledger.record(JOB.id)
    return record.state, record.queue


def test_the_last_run_that_withdraws_ends_the_job(ledger: Ledger) -> None:
    submit(ledger, LANE, "one")
    submit(ledger, LANE, "two")
    assert not ledger.withdraw(JOB.id, "one")
    assert ledger.record(JOB.id).state is JobState.QUEUED
    assert ledger.withdraw(JOB.id, "two")
    assert ledger.record(JOB.id).verdict == "cancelled"


def test_a_running_job_is_cancelled_by_its_last_run_alone(ledger: Ledger) -> None:
    submit(ledger, LANE, "one")
    attempt = claim(ledger)
    submit(ledger, LANE, "two")
    assert not ledger.withdraw(JOB.id, "one")
    assert not ledger.beat(attempt)
    assert ledger.withdraw(JOB.id, "two")
    assert ledger.beat(attempt)


@pytest.mark.parametrize("first", [True, False])
def test_a_run_does_not_cancel_jobs_of_others(ledger: Ledger, first: bool) -> None:
    for run in ("", "one") if first else ("one", ""):
        submit(ledger, LANE, run)
    assert not ledger.withdraw(JOB.id, "one")
    assert where(ledger) == (JobState.QUEUED, LANE)


def test_a_run_does_not_cancel_jobs_of_an_earlier_version(ledger: Ledger, redis: Redis) -> None:
    submit(ledger, LANE)
    redis.delete(f"revalid:asked:{JOB.id}")
    submit(ledger, OWN, "one")
    assert not ledger.withdraw(JOB.id, "one")
    assert where(ledger) == (JobState.QUEUED, LANE)


def test_a_cancel_ends_the_job_for_all_submitters(ledger: Ledger) -> None:
    submit(ledger, LANE)
    submit(ledger, LANE, "one")
    ledger.cancel(JOB.id)
    assert ledger.record(JOB.id).verdict == "cancelled"
    assert submit(ledger, LANE, "two") is SubmitOutcome.NEW
    assert ledger.withdraw(JOB.id, "two"), "who asked for an earlier run asks no more"


def test_an_unknown_job_cannot_be_withdrawn(ledger: Ledger) -> None:
    with pytest.raises(UnknownJob, match=JOB.id):
        ledger.withdraw(JOB.id, "one")


def test_a_withdrawn_run_gives_the_job_back_to_the_queue_of_others(ledger: Ledger) -> None:
    submit(ledger, LANE)
    submit(ledger, OWN, "one")
    assert where(ledger) == (JobState.QUEUED, OWN)
    ledger.withdraw(JOB.id, "one")
    assert where(ledger) == (JobState.QUEUED, LANE)
    claim(ledger)


@pytest.mark.parametrize("dead", [OWN, OWN_BATCH])
def test_the_job_that_a_dead_run_had_joined_waits_where_it_was(
    ledger: Ledger, redis: Redis, dead: str
) -> None:
    submit(ledger, LANE)
    submit(ledger, dead, "one")
    announce(ledger, dead)
    overdue(ledger)
    assert where(ledger) == (JobState.QUEUED, dead), "its worker is there"
    announce(ledger, dead, slots=0)
    redis.hset(job_key(JOB.id), "queued_at", 1)
    overdue(ledger)
    assert where(ledger) == (JobState.QUEUED, LANE)
    claim(ledger)


def test_two_runs_wait_and_the_one_that_lives_goes_on(ledger: Ledger, redis: Redis) -> None:
    submit(ledger, OWN, "one")
    submit(ledger, OTHER, "two")
    announce(ledger, OWN)
    redis.hset(job_key(JOB.id), "queued_at", 1)
    overdue(ledger)
    assert where(ledger) == (JobState.QUEUED, OWN)


@pytest.mark.parametrize("how", ["given back", "lease over", "child died"])
def test_jobs_of_a_dead_runs_worker_go_to_the_other_submitters_at_once(
    ledger: Ledger, redis: Redis, how: str
) -> None:
    submit(ledger, LANE)
    submit(ledger, OWN, "one")
    announce(ledger, OWN)
    attempt = claim(ledger)
    announce(ledger, OWN, slots=0)
    if how == "given back":
        ledger.release(attempt, "its worker stops")
    elif how == "lease over":
        end_lease(redis)
        reap(ledger)
    else:
        ledger.abandon("host:1")
    assert where(ledger) == (JobState.QUEUED, LANE)
    claim(ledger)


def test_a_job_that_only_a_dead_run_asked_for_is_cancelled(ledger: Ledger, redis: Redis) -> None:
    submit(ledger, OWN, "one")
    overdue(ledger)
    assert where(ledger) == (JobState.QUEUED, OWN), "its worker may still start"
    redis.hset(job_key(JOB.id), "queued_at", 1)
    overdue(ledger)
    assert ledger.record(JOB.id).verdict == "cancelled"
