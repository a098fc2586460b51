"""The work of each script does not grow with the number of waiting jobs and tenants."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from redis import Redis

from revalid.jobs.connection import connect
from revalid.jobs.job import Job
from revalid.jobs.ledger.deliveries import Outcome, settle, take
from revalid.jobs.ledger.keys import RUNNING_KEY, job_key
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt
from revalid.jobs.result import Verdict
from tests.jobs.samples import make_job
from tests.jobs.scripts import NAMES, change

slow = pytest.mark.slow
MOST = 2_500
"""Commands and values of one script."""
LINE = "local call = redis.call"
COUNTING = """
local calls, read = 0, 0
local function size(answer)
  if type(answer) ~= 'table' then return 1 end
  local total = 0
  for _, each in ipairs(answer) do total = total + size(each) end
  return total
end
local function call(...)
  local answer = redis.call(...)
  calls, read = calls + 1, read + size(answer)
  redis.call('SET', 'work', calls .. ' ' .. read)
  return answer
end
"""
BATCH, INTERACTIVE = "revalid.batch", "revalid.interactive"

Work = tuple[int, int]
"""Commands, and values that they answered with."""


class Full:
    """A ledger in which many jobs wait, and arguments of every kind for its scripts."""

    def __init__(self, ledger: Ledger, counted: Ledger, size: int, *, tenants: bool) -> None:
        self.redis, self.ledger = ledger.redis, counted
        self.number = 0
        self.size, self.tenants = size, tenants
        for queue in (BATCH, INTERACTIVE):
            ledger.announce("host:0", [queue], slots=64)
            made = [self.job() for _ in range(size)]
            for start in range(0, size, 1_000):
                ledger.submit_all(made[start : start + 1_000], queue)
        self.urgent = make_job(tenant="urgent", nonce="urgent")
        self.ledger.submit(self.urgent, INTERACTIVE, "https://host/")

    def job(self) -> Job:
        """Another job: of a tenant of its own, or of one of three."""
        self.number += 1
        owner = self.number if self.tenants else self.number % 3
        return make_job(tenant=f"t{owner}", nonce=str(self.number))

    def running(self) -> Attempt:
        """A job that has begun, of those that ring."""
        for queue in (BATCH, INTERACTIVE):
            for job_id in self.redis.zrange(f"revalid:ringing:{queue}", 0, -1):
                attempt = self.ledger.claim(str(job_id), "host:1")
                assert attempt is not None
                return attempt
        raise AssertionError("nothing rings")

    def ringing(self) -> str:
        """A job that rings."""
        return str(self.redis.zrange(f"revalid:ringing:{BATCH}", 0, 0)[0])

    def dead(self) -> str:
        """Add a dead job."""
        job_id = self.running().job_id
        self.redis.hset(f"revalid:job:{job_id}", "attempts", 3)
        self.ledger.abandon("host:1")
        return job_id


def cancel(full: Full) -> Callable[[], object]:
    return partial(full.ledger.cancel, full.ringing())


def claim(full: Full) -> Callable[[], object]:
    return partial(full.ledger.claim, full.ringing(), "host:1")


def beat(full: Full) -> Callable[[], object]:
    attempt = full.running()
    full.redis.zadd(RUNNING_KEY, {attempt.job_id: 1})
    full.ledger.reap(judge=True, overdue_s=60)
    return partial(full.ledger.beat, attempt)


def reap(full: Full) -> Callable[[], object]:
    """With a lease that ended, and every doorbell overdue."""
    full.redis.zadd(RUNNING_KEY, {full.running().job_id: 1})
    return partial(full.ledger.reap, judge=True, overdue_s=0)


def finish(full: Full) -> Callable[[], object]:
    attempt = full.running()
    return partial(full.ledger.finish, attempt, Verdict.PASSED, "{}", reusable=True)


def finish_told(full: Full) -> Callable[[], object]:
    """As many webhooks as there are jobs."""
    attempt = full.running()
    pipe: Any = full.redis.pipeline()
    for number in range(full.size):
        pipe.sadd(f"revalid:hooks:{attempt.job_id}", json.dumps(number))
    pipe.execute()
    return partial(full.ledger.finish, attempt, Verdict.PASSED, "{}", reusable=True)


def fail_unserved(full: Full) -> Callable[[], object]:
    for queue in (BATCH, INTERACTIVE):
        for worker in ("host:0", "host:1"):
            full.ledger.announce(worker, [queue], slots=0)
        for job_id in full.redis.zrange(f"revalid:ringing:{queue}", 0, -1):
            full.redis.hset(job_key(str(job_id)), "queued_at", 1)
    return partial(full.ledger.fail_unserved, [BATCH, INTERACTIVE], 86_400, "no engine")


def deliveries(full: Full) -> None:
    """As many wait to be taken as there are jobs."""
    pipe: Any = full.redis.pipeline()
    for number in range(full.size):
        fields = dict.fromkeys(("job", "hook", "verdict", "failed_step", "finished_at"), "1")
        pipe.hset(f"revalid:hook:{number}", mapping={**fields, "since": 1, "tries": 0})
        pipe.zadd("revalid:deliveries", {str(number): 1})
    pipe.execute()


def take_(full: Full) -> Callable[[], object]:
    deliveries(full)
    return partial(take, full.ledger, 32, lease_s=60)


def settle_(full: Full) -> Callable[[], object]:
    deliveries(full)
    (delivery,) = take(full.ledger, 1, lease_s=60)
    return partial(settle, full.ledger, delivery, Outcome.DELIVERED)


def submit(full: Full) -> Callable[[], object]:
    return partial(full.ledger.submit, full.job(), BATCH)


def submit_elsewhere(full: Full) -> Callable[[], object]:
    return partial(full.ledger.submit, full.urgent, "revalid.ab12.interactive")


def abandon(full: Full) -> Callable[[], object]:
    full.running()
    return partial(full.ledger.abandon, "host:1")


CASES: dict[str, Callable[[Full], Callable[[], object]]] = {
    "abandon": abandon,
    "append": lambda full: partial(full.ledger.append, full.running(), "output", "{}"),
    "beat": beat,
    "cancel": cancel,
    "claim": claim,
    "stats": lambda full: full.ledger.stats,
    "finish": finish,
    "finish told": finish_told,
    "purge": lambda full: partial(full.ledger.purge, full.dead()),
    "reap": reap,
    "release": lambda full: partial(full.ledger.release, full.running(), "why"),
    "reserve": lambda full: partial(full.ledger.run, "reserve", "t1", "0" * 64, 10, 10**9),
    "retry": lambda full: partial(full.ledger.retry, full.dead()),
    "announce": lambda full: partial(full.ledger.announce, "host:1", [BATCH, INTERACTIVE], slots=1),
    "settle": settle_,
    "fail_unserved": fail_unserved,
    "submit": submit,
    "submit elsewhere": submit_elsewhere,
    "take": take_,
    "withdraw": lambda full: partial(full.ledger.withdraw, full.urgent.id, ""),
}


@pytest.fixture(scope="module")
def client(valkey_server: str) -> Iterator[Redis]:
    with connect(valkey_server) as made:
        yield made


def open_(redis: Redis, bound: int) -> Ledger:
    return Ledger(redis, tenant_jobs=bound, queued_jobs=10**6)


def work(ledger: Ledger, counted: Ledger, size: int, *, tenants: bool) -> dict[str, Work]:
    """Return the work of each script with this many waiting jobs."""
    ledger.redis.flushall()
    full = Full(ledger, counted, size, tenants=tenants)
    found = {}
    for name, prepare in CASES.items():
        prepare(full)()
        calls, read = str(ledger.redis.get("work")).split()
        found[name] = int(calls), int(read)
    return found


def test_every_script_has_its_case() -> None:
    assert {name.partition(" ")[0] for name in CASES} == set(NAMES)


@pytest.mark.parametrize("sizes", [(100, 1_000), pytest.param((1_000, 10_000), marks=slow)])
@pytest.mark.parametrize("tenants", [True, False], ids=["many tenants", "three tenants"])
def test_no_script_works_more_where_more_waits(
    client: Redis, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int], *, tenants: bool
) -> None:
    ledger = open_(client, 2)
    change(monkeypatch, LINE, COUNTING)
    few, many = (work(ledger, open_(client, 2), size, tenants=tenants) for size in sizes)
    for name in CASES:
        assert sum(many[name]) <= 1.1 * sum(few[name]) + 20, (name, few[name], many[name])
        assert sum(many[name]) < MOST, (name, many[name])


@pytest.mark.parametrize("size", [1_000, pytest.param(10_000, marks=slow)])
def test_no_script_works_more_where_many_tenants_are_at_their_bound(
    client: Redis, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    client.flushall()
    jobs = [make_job(tenant=f"t{number}", nonce="1") for number in range(size)]
    open_(client, 1).submit_all(jobs, BATCH)
    pipe: Any = client.pipeline()
    for job in jobs[100:]:  # of each one runs elsewhere
        pipe.sadd(f"revalid:active:{job.tenant}", "another")
    pipe.execute()
    change(monkeypatch, LINE, COUNTING)
    ledger = open_(client, 1)
    for _ in range(3):
        for doorbell in list(ledger.redis.zrange(f"revalid:ringing:{BATCH}", 0, -1)):
            ledger.cancel(str(doorbell))
            assert sum(map(int, str(client.get("work")).split())) < MOST
