"""The stream of finished jobs, and the entries that a reader gets after its last one."""

from redis import Redis

from revalid.jobs.ledger.completions import Completion, read_finished
from revalid.jobs.ledger.keys import FINISHED_KEY
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.result import Verdict
from tests.jobs.ledgers import claim, finish
from tests.jobs.samples import make_job

JOBS = [make_job(nonce=str(number)) for number in range(5)]
IDS = [job.id for job in JOBS]


def ids(found: list[Completion]) -> list[str]:
    return [finish.job_id for finish in found]


def finish_all(ledger: Ledger) -> None:
    for job in JOBS:
        ledger.submit(job, "q")
        finish(ledger, claim(ledger, job))


def test_each_end_is_read_once_and_in_order(ledger: Ledger, redis: Redis) -> None:
    assert read_finished(redis, None, 10) == []
    finish_all(ledger)
    first = read_finished(redis, None, 2)
    rest = read_finished(redis, first[-1], 10)
    assert ids(first + rest) == IDS
    assert read_finished(redis, rest[-1], 10) == []
    # However a job ends: here one that never ran, and then runs.
    other = make_job(nonce="other")
    ledger.submit(other, "q")
    ledger.cancel(other.id)
    ledger.submit(other, "q")
    finish(ledger, claim(ledger, other), Verdict.TIMED_OUT)
    assert ids(read_finished(redis, rest[-1], 10)) == [other.id, other.id]


def test_a_repeated_finish_is_recorded_once(ledger: Ledger, redis: Redis) -> None:
    ledger.submit(JOBS[0], "q")
    attempt = claim(ledger, JOBS[0])
    finish(ledger, attempt)
    finish(ledger, attempt)
    assert ids(read_finished(redis, None, 10)) == IDS[:1]


def test_a_reader_whose_last_entry_is_missing_starts_from_the_beginning(
    ledger: Ledger, redis: Redis
) -> None:
    finish_all(ledger)
    (*_, last) = read_finished(redis, None, 3)
    assert ids(read_finished(redis, last, 10)) == IDS[3:]
    redis.xdel(FINISHED_KEY, last.entry)
    assert ids(read_finished(redis, last, 10)) == IDS[:2] + IDS[3:]
    of_another = Completion(read_finished(redis, None, 1)[0].entry, "other")
    assert ids(read_finished(redis, of_another, 1)) == IDS[:1]
    redis.flushall()
    assert read_finished(redis, last, 10) == []


def test_entries_expire_with_results(redis: Redis) -> None:
    ledger = Ledger(redis, result_ttl_s=60)
    seconds, _ = redis.time()
    for number in range(300):  # Redis removes whole nodes of a hundred
        redis.xadd(FINISHED_KEY, {"id": "old"}, id=f"{(seconds - 61) * 1000}-{number}")
    redis.xadd(FINISHED_KEY, {"id": "young"}, id=f"{(seconds - 30) * 1000}-0")
    finish_all(ledger)
    found = ids(read_finished(redis, None, 1000))
    assert found[-6:] == ["young", *IDS]
    assert len(found) < 6 + 150


def test_results_may_be_kept_for_longer_than_the_time_since_1970(redis: Redis) -> None:
    finish_all(Ledger(redis, result_ttl_s=100 * 365 * 86_400))
    assert ids(read_finished(redis, None, 10)) == IDS
