"""What Celery keeps in Redis of workers that were killed, swept beside living ones."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from jobs.connection import connect
from jobs.ledger import Ledger
from jobs.queue import TASK, make_app, ring
from jobs.settings import load_settings
from tests.faults.fleet import eventually
from tests.jobs.samples import make_job
from worker import broker_sweep
from worker.attempt import START, process_name
from worker.broker_sweep import BrokerSweep, node_key

NODES, REPLIES = "_kombu.binding.celery.pidbox", "_kombu.binding.reply.celery.pidbox"
SEPARATOR = "\x06\x16"
QUEUE = "revalid.interactive"


@pytest.fixture
def app(valkey_url: str) -> Iterator[Celery]:
    made = make_app(load_settings({}, env_file=None), valkey_url)
    yield made
    made.close()


@pytest.fixture
def sweep(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> BrokerSweep:
    monkeypatch.setattr(broker_sweep, "EVERY_S", 0)
    return BrokerSweep(redis, "revalid-1-aa@here")


def bound(queue: str, key: str = "") -> str:
    return SEPARATOR.join([key, "", queue])


def test_messages_that_a_killed_worker_had_go_with_their_jobs(
    app: Celery, redis: Redis, sweep: BrokerSweep
) -> None:
    """As Celery leaves them: taken from the queue, and never acknowledged."""
    ledger = Ledger(redis, ring=lambda bell: ring(app, bell))
    waits, runs, done, purged = (make_job(nonce=name) for name in ("a", "b", "c", "d"))
    for job in (waits, runs, done, purged):
        ledger.submit(job, QUEUE)
    with app.connection() as connection:
        channel: Any = connection.channel()
        app.amqp.queues[QUEUE].bind(channel).declare()
        taken = [channel.basic_get(QUEUE) for _ in range(4)]
        assert redis.hlen("unacked") == len(taken) == 4
        ledger.claim(runs.id, "host:1")
        ledger.cancel(done.id)
        redis.delete(f"revalid:job:{purged.id}")
        redis.zadd("unacked_index", {"no message": 1})
        sweep.look()
        left = [json.loads(text)[0]["headers"]["id"] for text in redis.hvals("unacked")]
        assert sorted(left) == sorted([waits.id, runs.id])
        assert redis.zrange("unacked_index", 0, -1) == redis.hkeys("unacked")
        for message in taken:  # a worker that lives after all loses nothing
            channel.basic_ack(message.delivery_tag)
        assert redis.exists("unacked", "unacked_index") == 0


def test_messages_of_others_are_left_alone(redis: Redis, sweep: BrokerSweep) -> None:
    texts = [json.dumps([{"headers": {"id": "x", "task": "another"}}, "", "q"]), "garbage", "[]"]
    redis.hset("unacked", mapping={str(number): text for number, text in enumerate(texts)})
    sweep.look()
    assert redis.hvals("unacked") == texts


def test_a_round_looks_at_so_many_and_all_have_their_turn(
    redis: Redis, sweep: BrokerSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps([{"headers": {"id": "gone", "task": TASK}, "body": "x" * 100}, "", QUEUE])
    for number in range(1_000):
        redis.hset("unacked", str(number), text)
        redis.zadd("unacked_index", {str(number): number})
        redis.sadd(NODES, bound(f"revalid-{number}-bb@gone.celery.pidbox"))
    left = [1_000]
    while left[-1] and len(left) < 40:
        sweep.look()
        left.append(redis.hlen("unacked"))
    assert left[-1] == 0
    assert max(one - other for one, other in pairwise(left)) < 300
    assert redis.exists("unacked_index", NODES) == 0


def test_only_nodes_that_live_stay_bound(redis: Redis, sweep: BrokerSweep) -> None:
    own, other, dead = (f"revalid-1-{start}@here" for start in ("aa", "bb", "cc"))
    members = {name: bound(f"{name}.celery.pidbox") for name in (own, other, dead, "celery@app")}
    redis.sadd(NODES, *members.values())
    BrokerSweep(redis, other).look()
    redis.sadd(NODES, members[own])
    sweep.look()
    assert redis.smembers(NODES) == {members[own], members[other], members["celery@app"]}


def test_a_place_for_replies_goes_once_it_was_twice_without_one(
    redis: Redis, sweep: BrokerSweep
) -> None:
    gone, used = (bound(f"{name}.reply.celery.pidbox", name) for name in ("gone", "used"))
    redis.sadd(REPLIES, gone, used)
    sweep.look()
    assert redis.smembers(REPLIES) == {gone, used}
    redis.lpush("used.reply.celery.pidbox", "a reply")
    sweep.look()
    assert redis.smembers(REPLIES) == {used}


def test_a_living_worker_stays_bound(local_worker: str) -> None:
    with connect(local_worker) as redis:
        (member,) = (str(each) for each in redis.smembers(NODES))
        name = member.rpartition(SEPARATOR)[2].removesuffix(".celery.pidbox")
        assert re.fullmatch(r"revalid-\d+-[0-9a-f]{8}@.+", name)
        eventually(lambda: redis.exists(node_key(name)), what="the worker's first round")
        BrokerSweep(redis, "revalid-1-aa@here").look()
        assert redis.smembers(NODES) == {member}


def test_two_starts_of_one_process_id_have_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two containers of one host name."""
    names = set()
    for _ in range(2):
        monkeypatch.delenv(START, raising=False)
        names.add(process_name(7))
        assert process_name(7) in names
        monkeypatch.undo()
    assert len(names) == 2
