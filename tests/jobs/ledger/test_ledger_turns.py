"""The ledger: turns of tenants, the bound of queued jobs, and announcements of workers."""

import ast

import pytest
from redis import Redis

from revalid.jobs.errors import QueueFull
from revalid.jobs.job import Job
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Doorbell, JobState, SubmitOutcome
from revalid.jobs.result import Verdict
from tests.jobs.ledgers import JOB, Open, claim, end_lease, finish, reap, server_time
from tests.jobs.samples import make_job

RINGING = 16
BATCH = "revalid.batch"


def tenant_of(doorbell: Doorbell) -> str:
    return str(ast.literal_eval(doorbell.shown)["tenant"])


def jobs(tenant: str, number: int) -> list[Job]:
    return [make_job(tenant=tenant, nonce=str(each)) for each in range(number)]


def submit(ledger: Ledger, made: list[Job], queue: str = "q") -> None:
    for job in made:
        assert ledger.submit(job, queue) is SubmitOutcome.NEW


def test_a_doorbell_has_all_fields_of_its_message(open_: Open) -> None:
    ledger, rung = open_()
    job = make_job(tenant="acme", limits={"job_timeout_s": 10})
    ledger.submit(job, "q")
    assert rung == [Doorbell(job.id, "q", "{'tenant': 'acme', 'strategy': 'auto'}", 130)]


def test_few_doorbells_ring_at_a_time(open_: Open) -> None:
    ledger, rung = open_()
    made = jobs("a", RINGING + 3)
    submit(ledger, made)
    first = [job.id for job in made[:RINGING]]
    assert [doorbell.job_id for doorbell in rung] == first
    assert ledger.claim(made[-1].id, "host:1") is None, "it is not its turn"
    attempt = ledger.claim(made[0].id, "host:1")
    assert attempt is not None
    assert [doorbell.job_id for doorbell in rung[RINGING:]] == [made[RINGING].id]
    ledger.cancel(made[1].id)
    assert [doorbell.job_id for doorbell in rung[RINGING + 1 :]] == [made[RINGING + 1].id]


def test_tenants_take_turns(open_: Open) -> None:
    ledger, rung = open_()
    submit(ledger, jobs("greedy", 40))
    submit(ledger, jobs("b", 2))
    submit(ledger, jobs("c", 2))
    for doorbell in rung[:RINGING]:
        assert ledger.claim(doorbell.job_id, "host:1")
    turns = [tenant_of(doorbell) for doorbell in rung[RINGING:]]
    assert turns[:6] == ["greedy", "b", "c", "greedy", "b", "c"]
    assert set(turns[6:]) == {"greedy"}


def test_a_tenant_runs_no_more_jobs_than_it_may(open_: Open) -> None:
    ledger, rung = open_(tenant_jobs=2)
    made = jobs("a", 4)
    submit(ledger, made)
    submit(ledger, jobs("b", 1))
    assert [tenant_of(doorbell) for doorbell in rung] == ["a", "a", "b"]
    attempts = [ledger.claim(doorbell.job_id, "host:1") for doorbell in rung]
    assert len(rung) == 3
    assert attempts[0] is not None
    finish(ledger, attempts[0])
    assert [doorbell.job_id for doorbell in rung[3:]] == [made[2].id]


def test_a_tenant_at_its_bound_keeps_its_place(open_: Open) -> None:
    ledger, rung = open_(tenant_jobs=1)
    for tenant in [*"abcdefghijklmnop", "late"]:
        submit(ledger, jobs(tenant, 2))
    attempt = ledger.claim(rung[0].job_id, "host:1")
    assert attempt is not None
    finish(ledger, attempt)
    ledger.claim(rung[1].job_id, "host:1")
    assert [tenant_of(doorbell) for doorbell in rung[RINGING:]] == ["late", "a"]


def test_a_tenants_job_in_another_queue_has_its_turn_with_the_next_round(open_: Open) -> None:
    ledger, rung = open_(tenant_jobs=1)
    submit(ledger, jobs("a", 1))
    submit(ledger, [make_job(tenant="a", nonce="other")], BATCH)
    attempt = ledger.claim(rung[0].job_id, "host:1")
    assert attempt is not None
    finish(ledger, attempt)
    reap(ledger)
    assert [doorbell.queue for doorbell in rung] == ["q", BATCH]


def test_batch_jobs_leave_slots_free(open_: Open) -> None:
    ledger, rung = open_(interactive_slots=1)
    ledger.announce("host:1", [BATCH, "q"], slots=2)
    ledger.announce("host:2", [BATCH, "q"], slots=1)
    submit(ledger, jobs("a", 5), BATCH)
    assert len(rung) == 2
    submit(ledger, jobs("b", 5))
    assert len(rung) == 2 + 5
    attempt = ledger.claim(rung[0].job_id, "host:1")
    assert len(rung) == 7, "a running job has its slot still"
    assert attempt is not None
    finish(ledger, attempt)
    assert len(rung) == 8


def test_one_slot_alone_is_not_kept_from_batch_jobs(open_: Open) -> None:
    ledger, rung = open_(interactive_slots=1)
    ledger.announce("host:1", [BATCH], slots=1)
    submit(ledger, jobs("a", 2), BATCH)
    assert len(rung) == 1


def test_a_released_job_is_the_first_of_its_tenant(open_: Open) -> None:
    ledger, rung = open_(tenant_jobs=1)
    made = jobs("a", 3)
    submit(ledger, made)
    attempt = ledger.claim(made[0].id, "host:1")
    assert attempt is not None
    ledger.release(attempt, "why")
    assert [doorbell.job_id for doorbell in rung] == [made[0].id, made[0].id]


def test_more_jobs_than_may_wait_are_refused(open_: Open, redis: Redis) -> None:
    ledger, _ = open_(queued_jobs=2)
    made = jobs("a", 3)
    submit(ledger, made[:2])
    before = redis.dbsize()
    with pytest.raises(QueueFull, match="2 jobs are queued, as many as REVALID_QUEUED_JOBS"):
        ledger.submit(made[2], "q")
    assert redis.dbsize() == before
    assert ledger.submit(made[0], "q") is SubmitOutcome.JOINED
    assert ledger.claim(made[0].id, "host:1")
    assert ledger.submit(made[2], "q") is SubmitOutcome.NEW


def test_a_queued_job_that_is_submitted_to_another_queue_moves(open_: Open, redis: Redis) -> None:
    ledger, rung = open_()
    ledger.submit(JOB, "q")
    assert ledger.submit(JOB, "r") is SubmitOutcome.JOINED
    assert [doorbell.queue for doorbell in rung] == ["q", "r"]
    assert redis.exists("revalid:ringing:q", "revalid:flight:q") == 0
    finish(ledger, claim(ledger))
    assert redis.exists("revalid:ringing:r", "revalid:flight:r", "revalid:active:default") == 0


def test_a_job_that_is_being_cancelled_is_not_joined(open_: Open) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    attempt = claim(ledger)
    ledger.cancel(JOB.id)
    assert ledger.submit(JOB, "q") is SubmitOutcome.CANCELLING
    finish(ledger, attempt, Verdict.CANCELLED)
    assert ledger.submit(JOB, "q") is SubmitOutcome.NEW


def test_an_announcement_of_a_worker_expires(open_: Open) -> None:
    ledger, _ = open_()
    ledger.announce("host:1", ["q", "r"], slots=2)
    ledger.announce("host:2", ["q"], slots=1)
    ledger.announce("host:2", ["q"], slots=3)
    assert ledger.serving("q") == {"host:1", "host:2"}
    ledger.announce("host:1", ["q", "r"], slots=0)
    assert (ledger.serving("q"), ledger.serving("r")) == ({"host:2"}, set())


def test_a_job_waits_a_bounded_time_for_an_engine(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    patient = make_job(nonce="1", limits={"engine_wait_s": 500})
    submit(ledger, [JOB, patient])
    now = server_time(redis)
    assert ledger.fail_unserved(["q"], 0, "no engine") == []
    for job in (JOB, patient):
        redis.hset(f"revalid:job:{job.id}", "queued_at", int((now - 100) * 1000))
    assert ledger.fail_unserved(["q"], 1, "no engine") == [], "there was one until a second ago"
    ledger.announce("host:1", ["q"], slots=1)
    assert ledger.fail_unserved(["q"], 100, "no engine") == [], "a worker has one"
    ledger.announce("host:1", ["q"], slots=0)
    assert ledger.fail_unserved(["q"], 100, "no engine") == [JOB.id]
    record = ledger.record(JOB.id)
    assert (record.verdict, record.error) == (Verdict.ERRORED, "no engine")
    assert ledger.record(patient.id).state is JobState.QUEUED


def test_a_job_whose_private_worker_left_is_cancelled_eventually(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    own, shared = "revalid.ab12.interactive", "revalid.ab12.batch"
    ledger.submit(JOB, own)
    other = make_job(nonce="1")
    ledger.submit(other, shared)
    for job, queue in ((JOB, own), (other, shared)):
        redis.zadd(f"revalid:ringing:{queue}", {job.id: 1})
    assert len(reap(ledger)[1]) == 2
    for job, queue in ((JOB, own), (other, shared)):
        redis.zadd(f"revalid:ringing:{queue}", {job.id: 1})
        redis.hset(f"revalid:job:{job.id}", "queued_at", 1)
    ledger.announce("host:1", [own], slots=1)
    assert len(reap(ledger)[1]) == 2
    ledger.announce("host:1", [own], slots=0)
    redis.zadd(f"revalid:ringing:{own}", {JOB.id: 1})
    assert reap(ledger) == ([], [])
    record = ledger.record(JOB.id)
    assert (record.verdict, record.error) == (
        Verdict.CANCELLED,
        "the run that it was for has ended, and its worker",
    )
    assert ledger.record(other.id).state is JobState.QUEUED


def test_a_tenants_interactive_job_does_not_wait_for_its_batch(open_: Open) -> None:
    ledger, rung = open_(tenant_jobs=1)
    submit(ledger, jobs("a", 3), BATCH)
    urgent = make_job(tenant="a", nonce="urgent")
    submit(ledger, [urgent], "revalid.interactive")
    attempt = ledger.claim(rung[0].job_id, "host:1")
    assert attempt is not None
    finish(ledger, attempt)
    assert [doorbell.job_id for doorbell in rung[1:]] == [urgent.id]


def test_a_batch_does_not_move_a_job_that_somebody_waits_for(open_: Open) -> None:
    ledger, rung = open_()
    ledger.submit(JOB, "revalid.interactive")
    assert ledger.submit(JOB, BATCH) is SubmitOutcome.JOINED
    assert [doorbell.queue for doorbell in rung] == ["revalid.interactive"]


def test_a_claim_is_repeated_if_its_reply_was_lost(open_: Open) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    attempt = claim(ledger)
    assert claim(ledger) == attempt
    assert ledger.claim(JOB.id, "host:2") is None


def test_a_cancelled_job_that_its_worker_returns_ends(open_: Open) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    attempt = claim(ledger)
    ledger.cancel(JOB.id)
    assert ledger.release(attempt, "why")
    assert ledger.record(JOB.id).verdict is Verdict.CANCELLED


@pytest.mark.parametrize("queue", ["q", "revalid.ab12.interactive"])
def test_a_missing_record_does_not_stop_the_rest(open_: Open, redis: Redis, queue: str) -> None:
    ledger, rung = open_()
    gone = jobs("a", RINGING + 1)
    submit(ledger, gone, queue)
    for job in gone:
        redis.delete(f"revalid:job:{job.id}")
        redis.zadd(f"revalid:ringing:{queue}", {job.id: 1}, xx=True)
    assert reap(ledger) == ([], [])
    ledger.announce("host:1", [queue], slots=0)
    ledger.fail_unserved([queue], 86_400, "no engine")
    submit(ledger, [JOB], queue)
    assert rung[-1].job_id == JOB.id
    redis.hset("revalid:held", "host:9", gone[0].id)
    assert ledger.abandon("host:9") is None


def test_a_reused_result_is_kept_as_long_as_a_new_one(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    finish(ledger, claim(ledger))
    redis.expire(f"revalid:job:{JOB.id}", 5)
    assert ledger.submit(JOB, "q") is SubmitOutcome.REUSED
    assert int(redis.ttl(f"revalid:job:{JOB.id}")) > 5


def test_in_a_full_broker_lost_doorbells_are_named(
    open_: Open, redis: Redis, request: pytest.FixtureRequest
) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    redis.zadd("revalid:ringing:q", {JOB.id: 1})
    request.getfixturevalue("full")
    assert reap(ledger) == ([], [JOB.id])
    ledger.announce("host:1", ["q"], slots=1)
    assert ledger.serving("q") == {"host:1"}


def test_a_fence_is_above_all_earlier_ones_even_after_data_loss(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    first = claim(ledger)
    redis.flushall()
    ledger.submit(JOB, "q")
    assert claim(ledger).fence > first.fence


def test_a_worker_that_holds_another_job_is_not_lost(open_: Open, redis: Redis) -> None:
    ledger, _ = open_()
    other = make_job(nonce="1")
    submit(ledger, [JOB, other])
    claim(ledger)
    assert ledger.claim(other.id, "host:1")
    end_lease(redis)
    assert ledger.reap(judge=True, overdue_s=60).lost == [(JOB.id, "")]
    assert ledger.record(other.id).state is JobState.RUNNING
