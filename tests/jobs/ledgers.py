"""One job in a ledger, and what happens to it."""

from collections.abc import Callable

from redis import Redis

from revalid.jobs.events import read
from revalid.jobs.job import Job
from revalid.jobs.ledger.keys import RUNNING_KEY
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt, Doorbell
from revalid.jobs.result import Verdict
from tests.jobs.samples import make_job

JOB = make_job()
RESULT = '{"a": "result"}'
OVERDUE_S = 3_600

Open = Callable[..., tuple[Ledger, list[Doorbell]]]
"""Opens a ledger with limits, and the list of the doorbells that it rings."""

Step = Callable[[int], None]
"""Steps the server's clock by seconds."""


def claim(ledger: Ledger, job: Job = JOB) -> Attempt:
    made = ledger.claim(job.id, "host:1")
    assert made is not None
    return made


def finish(ledger: Ledger, attempt: Attempt, verdict: Verdict = Verdict.PASSED) -> None:
    ledger.finish(attempt, verdict, RESULT, reusable=verdict.judges_project)


def end_lease(redis: Redis, job: Job = JOB) -> None:
    """As if the job's lease had ended a while ago."""
    assert redis.zadd(RUNNING_KEY, {job.id: 1}, xx=True, ch=True) == 1


def reap(ledger: Ledger) -> tuple[list[str], list[str]]:
    """Ids of the jobs whose lease ended, and of those whose doorbell is overdue."""
    reaped = ledger.reap(judge=True, overdue_s=OVERDUE_S)
    return [job_id for job_id, _ in reaped.lost], [doorbell.job_id for doorbell in reaped.overdue]


def events(redis: Redis) -> list[str]:
    return [event.type for event in read(redis, JOB.id, "0")]


def server_time(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return float(seconds + microseconds // 1000 / 1000)
