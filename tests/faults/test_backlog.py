"""Row 20: far more jobs than one worker can do soon, of sixteen tenants, one after the other."""

import time
from collections import Counter
from datetime import datetime
from itertools import pairwise
from statistics import quantiles

import psutil
import pytest

from revalid.jobs.ledger.record import JobState, Record
from revalid.producer.client import Client
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import done, since
from tests.faults.fleet import Fleet, eventually

JOBS = 10_000
CLAIMS = 1_600
"""So many are waited for: the rest only has to be there."""

TENANTS = 16
TURNS = 4
"""Rounds that are looked at: a fair order has claimed one job of each tenant in each."""
RUNG = 16
"""Doorbells that ring at a time; the first are all of who came first, as nobody else was there."""


@pytest.mark.row(20)
@pytest.mark.slow
@pytest.mark.timeout(500)
def test_backlog(client: Client, fleet: Fleet, submit: Submit, proved: Proved) -> None:
    empty = memory(client)
    started = time.monotonic()
    jobs, each, claims = JOBS, JOBS // TENANTS, CLAIMS
    handles = [
        submit(lane="batch", tenant=f"tenant-{tenant}")
        for tenant in range(TENANTS)  # in blocks: first come, first served would starve the last
        for _ in range(each)
    ]
    rate = jobs / since(started)
    full = memory(client)
    worker = fleet.start()
    parent = psutil.Process(worker.process.pid)
    eventually(lambda: done(client._redis) >= TENANTS, what="the first claims")  # all is loaded
    drained, at_first, already = time.monotonic(), rss(parent), done(client._redis)
    bound_s = 0.15 * claims + 30
    eventually(lambda: done(client._redis) >= claims, bound_s, what=f"{claims} claims", every_s=0.5)
    speed = (claims - already) / since(drained)
    at_last = rss(parent)
    worker.kill()
    records = [handle._record() for handle in handles]
    order = sorted(
        (record.started_at, tenant(number, each), record)
        for number, record in enumerate(records)
        if record.started_at is not None and record.state is JobState.DONE
    )
    first = Counter(name for _, name, _ in order[: TENANTS * TURNS])
    p99 = quantiles(gaps([record for *_, record in order]), n=100)[-1]
    assert at_last - at_first < 50, f"the worker grew from {at_first:.0f} to {at_last:.0f} MiB"
    assert (full - empty) * 1024 / jobs < 10, "KiB a job in Redis"
    assert len(first) == TENANTS, f"the first claims are of {dict(first)}"
    assert min(first.values()) >= TURNS // 2, first
    assert max(first.values()) <= TURNS + RUNG, first
    proved(
        f"{jobs} queued at {rate:.0f}/s, {(full - empty) * 1024 / jobs:.1f} KiB each; of the first "
        f"{TENANTS * TURNS} claims each tenant had {min(first.values())} to {max(first.values())}; "
        f"{speed:.0f} jobs/s, p99 from a job's end to the next claim {p99 * 1000:.0f} ms; "
        f"worker {at_first:.0f} to {at_last:.0f} MiB"
    )


def tenant(number: int, each: int) -> int:
    """Whose job it is, by its place in the submission."""
    return number // each


def memory(client: Client) -> float:
    """MiB that Redis uses."""
    return float(client._redis.info("memory")["used_memory"]) / 2**20


def rss(parent: psutil.Process) -> float:
    """MiB that a worker and its children use."""
    return sum(each.memory_info().rss for each in [parent, *parent.children()]) / 2**20


def gaps(records: list[Record]) -> list[float]:
    """Seconds from each job's end to the next one's claim, on one child."""

    def moment(found: datetime | None) -> datetime:
        assert found is not None
        return found

    return [
        max(0.0, (moment(after.started_at) - moment(before.finished_at)).total_seconds())
        for before, after in pairwise(records)
    ]
