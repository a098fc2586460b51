"""The ledger when Redis's clock steps, by a correction or after its machine has slept."""

import pytest
from redis import Redis

from revalid.jobs.job import DEFAULT_IMAGE
from revalid.jobs.ledger.deliveries import Outcome, settle, take
from revalid.jobs.ledger.keys import image_key
from revalid.jobs.ledger.ledger import LEASE_S, Ledger
from revalid.jobs.ledger.record import IMAGE_S, SERVING_S, JobState, SubmitOutcome
from revalid.jobs.result import Verdict
from tests.jobs.ledgers import JOB, Open, Step, claim, events, finish, reap
from tests.jobs.samples import make_job

HOUR = 3_600
OWN = "revalid.ab12.interactive"
DIGEST = "sha256:" + "1" * 64


class Elapsed:
    """A process's own clock, which the test moves."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def elapsed(monkeypatch: pytest.MonkeyPatch, step: Step) -> Elapsed:
    """The monotonic clock of this process."""
    made = Elapsed()
    monkeypatch.setattr("revalid.jobs.clock.monotonic", made)
    monkeypatch.setattr("revalid.jobs.ledger.ledger.monotonic", made)
    return made


def passes(elapsed: Elapsed, step: Step, seconds: float) -> None:
    """Time, on both clocks."""
    elapsed.now += seconds
    step(int(seconds))


def test_back_a_dead_workers_job_is_claimable_after_one_more_lease(
    elapsed: Elapsed, open_: Open, step: Step
) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    first = claim(ledger)
    reap(ledger)
    step(-HOUR)
    assert reap(ledger) == ([], [])
    passes(elapsed, step, LEASE_S + 1)
    assert reap(ledger) == ([JOB.id], [])
    second = ledger.claim(JOB.id, "host:2")
    assert second is not None
    assert second.fence > first.fence


def test_back_a_dead_workers_job_can_be_cancelled(
    elapsed: Elapsed, open_: Open, step: Step
) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    claim(ledger)
    reap(ledger)
    step(-HOUR)
    ledger.cancel(JOB.id)
    reap(ledger)
    passes(elapsed, step, LEASE_S + 1)
    assert reap(ledger) == ([JOB.id], [])
    assert ledger.record(JOB.id).verdict is Verdict.CANCELLED


def test_back_even_if_no_worker_saw_the_step(open_: Open, step: Step) -> None:
    open_()[0].submit(JOB, "q")
    claim(open_()[0])
    step(-HOUR)
    assert reap(open_()[0]) == ([], [])
    step(int(LEASE_S) + 1)
    assert reap(open_()[0]) == ([JOB.id], [])


@pytest.mark.parametrize("hours", [1, -1])
def test_either_way_a_renewed_lease_is_kept(
    elapsed: Elapsed, open_: Open, redis: Redis, step: Step, hours: int
) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    attempt = claim(ledger)
    reap(ledger)
    step(hours * HOUR)
    for _ in range(2 * int(LEASE_S)):
        assert reap(ledger) == ([], [])
        passes(elapsed, step, 1)
        assert ledger.beat(attempt) is False
    assert events(redis) == ["queued", "started"]


def test_ahead_a_dead_workers_job_is_claimable_after_one_more_lease(
    elapsed: Elapsed, open_: Open, step: Step
) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    claim(ledger)
    reap(ledger)
    step(HOUR)
    assert reap(ledger) == ([], [])
    passes(elapsed, step, LEASE_S + 1)
    assert reap(ledger) == ([JOB.id], [])


def test_back_a_lost_doorbell_is_named_on_time(elapsed: Elapsed, open_: Open, step: Step) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    step(-HOUR)

    def overdue() -> list[str]:
        return [doorbell.job_id for doorbell in ledger.reap(judge=True, overdue_s=30).overdue]

    assert overdue() == []
    passes(elapsed, step, 31)
    assert overdue() == [JOB.id]


def test_back_a_worker_that_left_serves_no_queue(open_: Open, redis: Redis, step: Step) -> None:
    ledger, _ = open_(interactive_slots=1)
    ledger.announce("host:1", ["q", "revalid.interactive"], slots=4)
    step(-HOUR)
    ledger.announce("host:2", ["q", "revalid.interactive"], slots=1)
    assert redis.zrange("revalid:serving:q", 0, -1) == ["1 host:2"]
    assert ledger.stats().slots == 1


def test_back_a_worker_is_not_seen_for_longer_than_it_lives(open_: Open, redis: Redis) -> None:
    """No worker is left that could remove it; keys that expire by themselves expire late too."""
    ledger, _ = open_()
    ledger.announce("host:1", ["q"], slots=1)
    redis.zincrby("revalid:serving:q", HOUR * 1000, "1 host:1")
    redis.pexpire("revalid:serving:q", (HOUR + int(SERVING_S)) * 1000)
    assert ledger.serving("q") == set()


@pytest.mark.parametrize("hours", [1, -1])
def test_either_way_a_job_waits_as_long_for_an_engine(
    elapsed: Elapsed, open_: Open, step: Step, hours: int
) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    reap(ledger)
    passes(elapsed, step, 5)
    step(hours * HOUR)
    unserved_since = elapsed.now - 60
    assert ledger.fail_unserved(["q"], 60, "no engine") == [], "the step comes within the round"
    reap(ledger)
    assert ledger.fail_unserved(["q"], elapsed.now - unserved_since, "no engine") == []
    passes(elapsed, step, JOB.engine_wait_s + 1)
    assert ledger.fail_unserved(["q"], elapsed.now - unserved_since, "no engine") == [JOB.id]


def test_ahead_a_run_does_not_count_as_gone(elapsed: Elapsed, open_: Open, step: Step) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, OWN)
    ledger.announce("host:1", [OWN], slots=1)
    reap(ledger)
    step(HOUR)
    reap(ledger)
    assert ledger.record(JOB.id).state is JobState.QUEUED
    ledger.announce("host:1", [OWN], slots=1)
    passes(elapsed, step, LEASE_S + 1)
    ledger.announce("host:1", [OWN], slots=1)
    reap(ledger)
    assert ledger.record(JOB.id).state is JobState.QUEUED


def test_back_a_job_of_a_run_that_left_is_cancelled_on_time(
    elapsed: Elapsed, open_: Open, step: Step
) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, OWN)
    step(-2 * HOUR)
    for seconds in (40, 40, 590):
        ledger.reap(judge=True, overdue_s=30)
        passes(elapsed, step, seconds)
    ledger.reap(judge=True, overdue_s=30)
    assert ledger.record(JOB.id).verdict is Verdict.CANCELLED


def test_back_an_image_is_not_trusted_for_longer(ledger: Ledger, redis: Redis) -> None:
    ledger.resolved(DEFAULT_IMAGE, DIGEST)
    ledger.submit(JOB, "q")
    attempt = claim(ledger)
    ledger.finish(attempt, Verdict.PASSED, "{}", reusable=True, image_digest=DIGEST)
    assert ledger.submit(JOB, "q") is SubmitOutcome.REUSED
    redis.pexpire(image_key(DEFAULT_IMAGE), int(IMAGE_S + HOUR) * 1000)  # as its clock has it
    assert ledger.image_digest(DEFAULT_IMAGE) is None
    assert ledger.submit(JOB, "q") is SubmitOutcome.NEW


def test_back_a_verdict_is_posted_on_time(elapsed: Elapsed, open_: Open, step: Step) -> None:
    """One delivery is new, one belongs to a dead worker, and one waits for its next try."""
    ledger, _ = open_()
    for name in ("failed", "taken", "new"):
        job = make_job(nonce=name)
        ledger.submit(job, "q", f"https://{name}/")
        ledger.cancel(job.id)
        if name != "new":
            (delivery,) = take(ledger, 9, lease_s=60)
            if name == "failed":
                settle(ledger, delivery, Outcome.FAILED, delay_s=HOUR)
    reap(ledger)
    step(-HOUR)
    reap(ledger)
    reap(ledger)
    found = take(ledger, 9, lease_s=60)
    names = ("failed", "taken", "new")
    assert {each.job_id for each in found} == {make_job(nonce=name).id for name in names}
    assert all(each.age_ms >= 0 for each in found)
    reap(ledger)
    assert take(ledger, 9, lease_s=60) == [], "what a living worker took is its own"


def test_back_no_wait_is_negative(open_: Open, step: Step) -> None:
    ledger, _ = open_()
    ledger.submit(JOB, "q")
    step(-HOUR)
    assert ledger.stats().lanes["interactive"].oldest_s == 0
    finish(ledger, claim(ledger))
    counters = ledger.stats().counters
    assert counters[("waited", "interactive", "0.1")] == 1
    assert counters[("waited_ms", "interactive")] == 0
