"""Turns of tenants among deliveries, and the bound of deliveries to one host."""

import pytest
from redis import Redis

from revalid.jobs.ledger.deliveries import Delivery, Outcome, settle, take
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.webhook import decode_hook
from tests.jobs.samples import make_job

AT_ONCE = 8
Told = list[tuple[str, str]]


def tell(ledger: Ledger, tenant: str, host: str, number: int = 0) -> None:
    """Add a verdict that must be posted."""
    job = make_job(tenant=tenant, nonce=f"{host} {number}")
    ledger.submit(job, "q", f"https://{host}/hook")
    ledger.cancel(job.id)


def take_due(ledger: Ledger, most: int, lease_s: float = 60) -> list[Delivery]:
    return take(ledger, most, lease_s=lease_s)


def hosts(found: list[Delivery]) -> list[str]:
    return [decode_hook(each.hook, each.job_id, None).url.split("/")[2] for each in found]


def commands(redis: Redis) -> int:
    return sum(found["calls"] for found in redis.info("commandstats").values())


@pytest.mark.parametrize("tenants", [1, 50])
def test_deliveries_under_way_to_one_host_are_bounded(ledger: Ledger, tenants: int) -> None:
    for number in range(100):
        tell(ledger, f"loud-{number % tenants}", "hangs.test", number)
    tell(ledger, "quiet", "there.test")
    found = hosts(take_due(ledger, 32))
    assert found.count("hangs.test") == AT_ONCE
    assert found.count("there.test") == 1
    assert take_due(ledger, 32) == []


@pytest.mark.parametrize("spelled", ["HANGS.test", "hangs.test.", "hangs.test:8443"])
def test_spellings_of_a_host_count_as_one(ledger: Ledger, spelled: str) -> None:
    for number in range(AT_ONCE):
        tell(ledger, "loud", "hangs.test", number)
        tell(ledger, "loud", spelled, number)
    assert len(take_due(ledger, 32)) == AT_ONCE


def test_a_tenant_with_many_hosts_does_not_delay_another(ledger: Ledger) -> None:
    for number in range(200):
        tell(ledger, "loud", f"hangs-{number}.test")
    first = take_due(ledger, 32)
    tell(ledger, "quiet", "there.test")
    settle(ledger, first[0], Outcome.FAILED, delay_s=3_600)
    assert hosts(take_due(ledger, 1)) == ["there.test"]


def test_tenants_with_many_deliveries_take_turns(ledger: Ledger) -> None:
    for number in range(6):
        for host in ("a.test", "b.test"):
            tell(ledger, "one", host, number)
    for number in range(6):
        tell(ledger, "other", "c.test", number)
    found = hosts(take_due(ledger, 8))
    assert found.count("c.test") == 4
    assert found.count("a.test") == found.count("b.test") == 2


def test_each_settled_delivery_lets_a_waiting_one_start(ledger: Ledger) -> None:
    for number in range(20):
        tell(ledger, f"tenant-{number}", "slow.test", number)
    delivered, under_way = 0, take_due(ledger, 32)
    while under_way:
        settle(ledger, under_way.pop(), Outcome.DELIVERED)
        delivered += 1
        under_way += take_due(ledger, 32)
        assert len(under_way) == min(AT_ONCE, 20 - delivered)
    assert delivered == 20
    assert ledger.redis.keys("revalid:ready:*") == ledger.redis.keys("revalid:posts-parked:*") == []


def test_deliveries_of_a_lost_worker_delay_no_others(ledger: Ledger, redis: Redis) -> None:
    for number in range(2 * AT_ONCE):
        tell(ledger, f"tenant-{number}", "slow.test", number)
    lost: dict[str, float] = {each.id: 1 for each in take_due(ledger, 32)}
    assert take_due(ledger, 32) == []
    for key in ("revalid:deliveries", "revalid:posts:slow.test"):  # their leases have ended
        redis.zadd(key, lost, xx=True)
    delivered = set()
    while found := take_due(ledger, 32):
        assert len(found) <= AT_ONCE
        for each in found:
            delivered.add(each.id)
            settle(ledger, each, Outcome.DELIVERED)
    assert len(delivered) == 2 * AT_ONCE
    assert ledger.stats().webhooks == 0


def test_deliveries_of_an_earlier_version_are_posted(ledger: Ledger, redis: Redis) -> None:
    tell(ledger, "default", "there.test")
    (delivery,) = map(str, redis.zrange("revalid:deliveries", 0, -1))
    redis.delete("revalid:post-turns", "revalid:post-shares", *redis.keys("revalid:ready:*"))
    redis.hdel(f"revalid:hook:{delivery}", "host")
    redis.zadd("revalid:deliveries", {delivery: 1})
    assert [each.id for each in take_due(ledger, 32)] == [delivery]


def test_the_work_of_a_look_does_not_grow_with_what_waits(ledger: Ledger, redis: Redis) -> None:
    def work(waiting: int) -> int:
        redis.flushall()
        for number in range(waiting):
            tell(ledger, f"tenant-{number}", "hangs.test", number)
        take_due(ledger, 32)
        before = commands(redis)
        take_due(ledger, 32)
        return commands(redis) - before

    assert work(800) == work(400)
