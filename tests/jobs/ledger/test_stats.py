"""The statistics that the metrics read from the ledger."""

import pytest
from redis import Redis

from revalid.jobs.job import Lane
from revalid.jobs.ledger.keys import lane_key
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt
from revalid.jobs.ledger.stats import LaneStats
from revalid.jobs.result import Verdict
from tests.jobs.ledgers import claim, end_lease, finish, reap
from tests.jobs.samples import make_job

BATCH = "revalid.batch"


def fail_three_times(ledger: Ledger, redis: Redis) -> None:
    for _ in range(3):
        claim(ledger)
        end_lease(redis)
        reap(ledger)


def test_an_empty_ledger_has_no_figures(ledger: Ledger) -> None:
    stats = ledger.stats()
    assert (stats.dead, stats.slots, stats.counters, stats.lanes) == (0, 0, {}, {})
    assert stats.webhooks == 0


def test_a_lane_covers_all_its_queues_and_tenants(ledger: Ledger) -> None:
    jobs = [make_job(nonce=str(n), tenant=f"t{n % 3}") for n in range(40)]  # more than ring at once
    for number, job in enumerate(jobs):
        ledger.submit(job, BATCH if number % 2 else "revalid.0123456789abcdef.batch")
    for job in jobs[:3]:
        claim(ledger, job)
    (lane,) = ledger.stats().lanes.values()
    assert (lane.queued, lane.running) == (37, 3)


@pytest.mark.parametrize("before", [0, 16])
def test_the_oldest_job_rings_or_waits_behind_those_that_do(
    ledger: Ledger, redis: Redis, before: int
) -> None:
    for number in range(before):
        ledger.submit(make_job(nonce=str(number)), BATCH)
    ledger.submit(make_job(), BATCH)
    redis.zincrby(lane_key(Lane.BATCH), -90_000, make_job().id)
    assert 90 <= ledger.stats().lanes["batch"].oldest_s < 120


def test_a_lane_without_queued_jobs_has_no_oldest_job(ledger: Ledger) -> None:
    ledger.submit(make_job(), BATCH)
    claim(ledger)
    assert ledger.stats().lanes["batch"] == LaneStats(0, 0, 1)


def test_a_lane_with_only_a_running_job_is_listed(ledger: Ledger, attempt: Attempt) -> None:
    reap(ledger)
    assert ledger.stats().lanes["interactive"].running == 1
    finish(ledger, attempt)
    reap(ledger)
    assert ledger.stats().lanes == {}


def test_a_job_that_moves_to_another_queue_is_counted_there(
    ledger: Ledger, attempt: Attempt
) -> None:
    ledger.submit(make_job(), BATCH)
    assert {name: lane.running for name, lane in ledger.stats().lanes.items()} == {
        "interactive": 0,
        "batch": 1,
    }


def test_verdicts_and_first_claims_are_counted(ledger: Ledger, attempt: Attempt) -> None:
    finish(ledger, attempt)
    finish(ledger, attempt)  # as after a lost answer
    other = make_job(nonce="other")
    ledger.submit(other, BATCH)
    ledger.release(claim(ledger, other), "test")
    claim(ledger, other)
    ledger.submit(make_job(nonce="third"), BATCH)
    ledger.cancel(make_job(nonce="third").id)
    counted = ledger.stats().counters
    assert counted.pop(("waited_ms", "interactive")) >= 0
    assert counted.pop(("waited_ms", "batch")) >= 0
    assert counted == {
        ("waited", "interactive", "0.1"): 1,
        ("waited", "batch", "0.1"): 1,
        ("finished", "interactive", Verdict.PASSED): 1,
        ("finished", "batch", Verdict.CANCELLED): 1,
    }


def test_a_long_wait_is_within_its_bound(queued: Ledger, redis: Redis) -> None:
    job_id = make_job().id
    past = int(str(redis.hget(f"revalid:job:{job_id}", "queued_at"))) - 10_000_000
    redis.hset(f"revalid:job:{job_id}", "queued_at", past)
    claim(queued)
    counted = queued.stats().counters
    assert counted[("waited", "interactive", "14400")] == 1
    assert 10_000_000 <= counted[("waited_ms", "interactive")] < 10_100_000


def test_lost_attempts_and_dead_jobs_are_counted(queued: Ledger, redis: Redis) -> None:
    fail_three_times(queued, redis)
    stats = queued.stats()
    assert (stats.dead, stats.counters[("lost",)]) == (1, 3)
    assert stats.counters[("finished", "interactive", "errored")] == 1
    redis.zincrby("revalid:dead", -600_001, make_job().id)  # its record has expired meanwhile
    assert queued.stats().dead == 0


def test_slots_are_those_of_workers_in_service(ledger: Ledger) -> None:
    for name in ("host:1", "host:2"):
        ledger.announce(name, ["revalid.interactive", BATCH], slots=4)
    assert ledger.stats().slots == 8
    ledger.announce("host:2", ["revalid.interactive", BATCH], slots=0)
    assert ledger.stats().slots == 4
