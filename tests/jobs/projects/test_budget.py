"""Projects in Redis: bounded by tenant and in all, and dropped when no job needs them."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from revalid.jobs.errors import InvalidProject, StoreFull
from revalid.jobs.job import Job
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.projects.budget import reserve
from tests.jobs.ledgers import end_lease, finish, reap
from tests.jobs.samples import make_job

SIZE = 1_000
LANE = "revalid.interactive"
Age = Callable[[], None]


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, result_ttl_s=600, blob_redis_bytes=SIZE)


@pytest.fixture
def age(redis: Redis) -> Age:
    """As if every project's time had passed, but for one that a job was found to need."""

    def made() -> None:
        seconds, _ = redis.time()
        for project, at in redis.zscan_iter("revalid:projects"):
            if at < (seconds + 1_800) * 1000:
                redis.zadd("revalid:projects", {project: 1})

    return made


def job(project: str = "a project", tenant: str = "default", **fields: Any) -> Job:
    digest = hashlib.sha256(project.encode()).hexdigest()
    source = {"kind": "tarball", "digest": digest, "size_bytes": SIZE}
    return make_job(source=source, tenant=tenant, **fields)


def digest_of(wanted: Job) -> str:
    assert wanted.source is not None
    return str(wanted.source.model_dump()["digest"])


def upload(ledger: Ledger, wanted: Job, most: int = 10 * SIZE) -> None:
    digest = digest_of(wanted)
    reserve(ledger, wanted.tenant, digest, SIZE, most=most)
    ledger.redis.set(f"revalid:blob:{digest}", "x" * SIZE, ex=600)


def submit(ledger: Ledger, wanted: Job) -> None:
    upload(ledger, wanted)
    assert ledger.submit(wanted, LANE) is SubmitOutcome.NEW


def stored(redis: Redis, wanted: Job) -> bool:
    return bool(redis.exists(f"revalid:blob:{digest_of(wanted)}"))


def usage(redis: Redis) -> dict[str, str]:
    return redis.hgetall("revalid:usage")  # type: ignore[return-value]


def test_an_upload_that_no_job_needs_is_removed(ledger: Ledger, redis: Redis, age: Age) -> None:
    upload(ledger, job())
    reap(ledger)
    assert stored(redis, job()), "it may still be submitted"
    age()
    reap(ledger)
    assert redis.keys() == []


def test_the_project_of_a_cancelled_job_is_removed(ledger: Ledger, redis: Redis, age: Age) -> None:
    submit(ledger, job())
    age()
    reap(ledger)
    assert stored(redis, job())
    ledger.cancel(job().id)
    age()
    reap(ledger)
    assert not stored(redis, job())
    assert usage(redis) == {}
    assert redis.keys("revalid:needs:*") == redis.keys("revalid:holders:*") == []


def test_a_project_is_kept_while_any_job_needs_it(ledger: Ledger, redis: Redis, age: Age) -> None:
    first, again = job(), job(nonce="fresh")
    submit(ledger, first)
    submit(ledger, again)
    assert usage(redis) == {"default": str(SIZE), "*": str(SIZE)}
    attempt = ledger.claim(first.id, "host:1")
    assert attempt is not None
    finish(ledger, attempt)
    age()
    reap(ledger)
    assert stored(redis, first)
    ledger.cancel(again.id)
    age()
    reap(ledger)
    assert not stored(redis, first)


def test_a_project_of_two_tenants_counts_for_each(ledger: Ledger, redis: Redis, age: Age) -> None:
    one, other = job(), job(tenant="other")
    submit(ledger, one)
    submit(ledger, other)
    assert usage(redis) == {"default": str(SIZE), "other": str(SIZE), "*": str(2 * SIZE)}
    ledger.cancel(one.id)
    age()
    reap(ledger)
    assert stored(redis, other)
    assert usage(redis) == {"other": str(SIZE), "*": str(SIZE)}


def test_jobs_whose_records_are_gone_need_nothing(ledger: Ledger, redis: Redis, age: Age) -> None:
    jobs = [job(nonce=str(number)) for number in range(50)]
    for each in jobs:
        submit(ledger, each)
        redis.delete(f"revalid:job:{each.id}")
    redis.zadd("revalid:projects", {f"default {digest_of(jobs[0])}": 1})
    for _ in range(10):
        reap(ledger)
    assert not stored(redis, jobs[0])


def test_each_tenant_has_its_own_bound(ledger: Ledger, redis: Redis) -> None:
    upload(ledger, job("a"), most=2 * SIZE)
    upload(ledger, job("b"), most=2 * SIZE)
    words = rf"{SIZE} bytes: tenant default has {2 * SIZE} bytes in Redis and REVALID_TENANT_B"
    with pytest.raises(StoreFull, match=words):
        upload(ledger, job("c"), most=2 * SIZE)
    assert not stored(redis, job("c"))
    upload(ledger, job("a"), most=2 * SIZE)
    upload(ledger, job("c", tenant="other"), most=2 * SIZE)


def test_uploads_at_the_same_time_do_not_pass_the_bound(ledger: Ledger, redis: Redis) -> None:
    def attempt(number: int) -> bool:
        try:
            upload(ledger, job(str(number)), most=5 * SIZE)
        except StoreFull:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(attempt, range(64)))
    assert sum(taken) == 5
    assert usage(redis)["default"] == str(5 * SIZE)
    assert len(redis.keys("revalid:blob:*")) == 5


def test_all_together_have_half_of_redis(ledger: Ledger, redis: Redis) -> None:
    redis.config_set("maxmemory", 512 * 2**20)
    try:
        reserve(ledger, "one", "0" * 64, 200 * 2**20, most=2**30)
        words = (
            f"projects take {200 * 2**20} bytes of Redis, and half of its maxmemory, {256 * 2**20}"
        )
        with pytest.raises(StoreFull, match=words):
            reserve(ledger, "two", "1" * 64, 200 * 2**20, most=2**30)
    finally:
        redis.config_set("maxmemory", 0)


def test_a_job_without_its_project_in_redis_is_refused(ledger: Ledger, redis: Redis) -> None:
    assert ledger.submit(job(), LANE) is SubmitOutcome.NOT_STORED
    upload(ledger, job())
    redis.delete(f"revalid:blob:{digest_of(job())}")
    assert ledger.submit(job(), LANE) is SubmitOutcome.NOT_STORED
    assert redis.keys("revalid:job:*") == []


def test_a_large_project_does_not_count_as_stored_in_redis(redis: Redis) -> None:
    ledger = Ledger(redis, blob_redis_bytes=SIZE - 1)
    assert ledger.submit(job(), LANE) is SubmitOutcome.NEW
    assert usage(redis) == {}


@pytest.mark.parametrize("how", ["at once", "within a day", "too late", "purged"])
def test_a_dead_jobs_project_is_kept_for_a_retry(
    ledger: Ledger, redis: Redis, age: Age, how: str
) -> None:
    submit(ledger, job())
    for _ in range(3):
        assert ledger.claim(job().id, "host:1")
        end_lease(redis, job())
        reap(ledger)
    assert ledger.dead() == [job().id]
    if how == "purged":
        ledger.purge(job().id)
    if how == "too late":
        redis.zincrby("revalid:dead", -86_400_001, job().id)
    if how != "at once":
        redis.zadd("revalid:projects", {f"default {digest_of(job())}": 1})
        reap(ledger)
    if how == "purged":
        assert not stored(redis, job())
    elif how == "too late":
        with pytest.raises(InvalidProject, match=f"{job().id}: its project is gone: submit it"):
            ledger.retry(job().id)
    else:
        ledger.retry(job().id)
        assert stored(redis, job())
        assert ledger.claim(job().id, "host:1")


def test_an_overlay_is_kept_and_counted_like_a_project(
    ledger: Ledger, redis: Redis, age: Age
) -> None:
    trusted = job("an overlay")
    wanted = job(overlay=trusted.source)
    upload(ledger, wanted)
    assert ledger.submit(wanted, LANE) is SubmitOutcome.NOT_STORED
    submit_both(ledger, wanted, trusted)
    assert usage(redis) == {"default": str(2 * SIZE), "*": str(2 * SIZE)}
    age()
    reap(ledger)
    assert stored(redis, wanted)
    assert stored(redis, trusted)
    ledger.cancel(wanted.id)
    age()
    reap(ledger)
    assert not stored(redis, wanted)
    assert not stored(redis, trusted)
    assert usage(redis) == {}


def submit_both(ledger: Ledger, wanted: Job, trusted: Job) -> None:
    upload(ledger, trusted)
    submit(ledger, wanted)
