"""Reports of workers."""

import json

from redis import Redis

from revalid.jobs.ledger.keys import WORKERS_KEY
from revalid.jobs.ledger.workers import Worker, leave, report, workers

ONE = Worker(name="host:1", slots=2, sandbox="dagger", version="1")


def later(redis: Redis, seconds: int) -> None:
    """Make a worker's last report older."""
    fields = json.loads(str(redis.hget(WORKERS_KEY, ONE.name)))
    fields["at"] -= seconds
    redis.hset(WORKERS_KEY, ONE.name, json.dumps(fields))


def test_the_last_report_of_a_worker_is_kept(redis: Redis) -> None:
    assert workers(redis) == []
    report(redis, ONE)
    report(redis, Worker("host:1", 2, "dagger", "1", reason="no engine"))
    (found,) = workers(redis)
    assert (found.name, found.reason, found.runs) == ("host:1", "no engine", True)
    leave(redis, "host:1")
    assert workers(redis) == []


def test_a_silent_worker_is_listed_for_a_day(redis: Redis) -> None:
    report(redis, ONE)
    later(redis, 60)
    other = Worker(name="host:2", slots=1, sandbox="local", version="1")
    report(redis, other)
    assert [(each.name, each.runs) for each in workers(redis)] == [
        ("host:2", True),
        ("host:1", False),
    ]
    later(redis, 90_000)
    report(redis, other)
    assert [each.name for each in workers(redis)] == ["host:2"]


def test_fields_of_another_version_are_read(redis: Redis) -> None:
    fields = '{"name": "host:3", "slots": 1, "sandbox": "moon", "version": "9", "at": 0, "mood": 1}'
    redis.hset(WORKERS_KEY, "host:3", fields)
    (found,) = workers(redis)
    assert (found.name, found.sandbox, found.runs) == ("host:3", "moon", False)
