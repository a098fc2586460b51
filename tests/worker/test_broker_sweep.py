"""Bindings of reply queues that killed processes have left are removed; those in use stay."""

from itertools import pairwise

import pytest
from redis import Redis

from revalid.worker import broker_sweep
from revalid.worker.broker_sweep import BrokerSweep

REPLIES = "_kombu.binding.reply.celery.pidbox"


@pytest.fixture
def sweep(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> BrokerSweep:
    monkeypatch.setattr(broker_sweep, "EVERY_S", 0)
    return BrokerSweep(redis)


def bound(name: str) -> str:
    return "\x06\x16".join([name, "", f"{name}.reply.celery.pidbox"])


def test_a_binding_is_removed_after_two_sweeps_without_a_reply(
    redis: Redis, sweep: BrokerSweep
) -> None:
    redis.sadd(REPLIES, bound("gone"), bound("used"))
    sweep.sweep()
    assert redis.smembers(REPLIES) == {bound("gone"), bound("used")}
    redis.lpush("used.reply.celery.pidbox", "a reply")
    sweep.sweep()
    assert redis.smembers(REPLIES) == {bound("used")}


def test_a_round_is_bounded_and_everyone_gets_a_turn(redis: Redis, sweep: BrokerSweep) -> None:
    redis.sadd(REPLIES, *(bound(str(number)) for number in range(1_000)))
    left = [1_000]
    while left[-1] and len(left) < 60:
        sweep.sweep()
        left.append(redis.scard(REPLIES))
    assert left[-1] == 0
    assert max(one - other for one, other in pairwise(left)) < 300
