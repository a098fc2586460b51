"""Verdicts belong to images, and a tag may name another image later."""

import pytest
from redis import Redis

from revalid.jobs.job import DEFAULT_IMAGE, Job
from revalid.jobs.ledger.keys import image_key, job_key
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import IMAGE_S, JobState, Record, SubmitOutcome
from revalid.jobs.result import Verdict
from tests.jobs.ledgers import JOB, RESULT, claim, events
from tests.jobs.samples import make_job

ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def judged(ledger: Ledger, job: Job = JOB, *, digest: str = ONE, reusable: bool = True) -> Record:
    """A job that passed in an image."""
    assert ledger.submit(job, "q") is SubmitOutcome.NEW
    ledger.finish(
        claim(ledger, job), Verdict.PASSED, RESULT, reusable=reusable, image_digest=digest
    )
    return ledger.record(job.id)


def test_the_image_is_the_same(ledger: Ledger) -> None:
    ledger.resolved(DEFAULT_IMAGE, ONE)
    before = judged(ledger)
    assert ledger.submit(JOB, "q") is SubmitOutcome.REUSED
    assert ledger.record(JOB.id) == before


def test_the_tag_has_moved(ledger: Ledger, redis: Redis) -> None:
    ledger.resolved(DEFAULT_IMAGE, ONE)
    judged(ledger)
    ledger.resolved(DEFAULT_IMAGE, OTHER)
    assert ledger.submit(JOB, "q") is SubmitOutcome.NEW
    record = ledger.record(JOB.id)
    assert (record.state, record.verdict, record.result) == (JobState.QUEUED, None, None)
    assert record.prior == RESULT
    assert events(redis) == ["queued"]


def test_the_known_digest_of_a_tag_expires(ledger: Ledger, redis: Redis) -> None:
    ledger.resolved(DEFAULT_IMAGE, ONE)
    judged(ledger)
    left_ms = redis.pttl(image_key(DEFAULT_IMAGE))
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= IMAGE_S * 1000
    redis.delete(image_key(DEFAULT_IMAGE))
    assert ledger.submit(JOB, "q") is SubmitOutcome.NEW
    assert ledger.record(JOB.id).prior == RESULT


def test_the_earlier_result_goes_with_the_new_one(ledger: Ledger) -> None:
    judged(ledger)
    ledger.submit(JOB, "q")
    ledger.finish(claim(ledger), Verdict.FAILED, "{}", reusable=True, image_digest=OTHER)
    record = ledger.record(JOB.id)
    assert (record.verdict, record.result, record.prior) == (Verdict.FAILED, "{}", None)


def test_a_result_that_may_not_be_reused_is_not_kept_for_reuse(ledger: Ledger) -> None:
    ledger.resolved(DEFAULT_IMAGE, ONE)
    judged(ledger, reusable=False)
    assert ledger.submit(JOB, "q") is SubmitOutcome.NEW
    assert ledger.record(JOB.id).prior is None


def test_a_digest_in_the_reference_needs_no_registry(ledger: Ledger) -> None:
    job = make_job(image=f"node@{ONE}")
    judged(ledger, job)
    assert ledger.submit(job, "q") is SubmitOutcome.REUSED


def test_a_worker_checks_a_local_result_even_for_a_pinned_image(ledger: Ledger) -> None:
    job = make_job(image=f"node@{ONE}")
    judged(ledger, job, digest=OTHER)
    assert ledger.submit(job, "q") is SubmitOutcome.NEW
    assert ledger.record(job.id).prior == RESULT


def test_a_result_without_an_image_is_reused_unchecked(ledger: Ledger) -> None:
    judged(ledger, digest="")
    ledger.resolved(DEFAULT_IMAGE, OTHER)
    assert ledger.submit(JOB, "q") is SubmitOutcome.REUSED


@pytest.mark.parametrize("tenant", ["other", "default2"])
def test_another_tenant_never_gets_an_earlier_verdict(ledger: Ledger, tenant: str) -> None:
    ledger.resolved(DEFAULT_IMAGE, ONE)
    judged(ledger)
    assert ledger.submit(make_job(tenant=tenant), "q") is SubmitOutcome.NEW
    assert ledger.record(make_job(tenant=tenant).id).prior is None


def test_a_verdict_of_older_rules_is_not_reused(ledger: Ledger, redis: Redis) -> None:
    ledger.resolved(DEFAULT_IMAGE, ONE)
    judged(ledger)
    redis.hset(job_key(JOB.id), "reusable", "1")
    assert ledger.submit(JOB, "q") is SubmitOutcome.NEW
    assert ledger.record(JOB.id).prior is None
