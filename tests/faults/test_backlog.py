"""Row 20: a backlog far above one worker's capacity, of sixteen tenants in blocks."""

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
from tests.faults.effects import count_done, since
from tests.faults.fleet import Fleet, eventually

JOBS = 10_000
CLAIMS = 1_600
"""Jobs that the test waits for; the others only have to be queued."""

TENANTS = 16
TURNS = 4
"""Rounds that the test examines; a fair order claims one job of each tenant in each."""
RUNG = 16
"""Doorbells that ring at a time; the first ones all belong to the tenant that came first."""


@pytest.mark.row(20)
@pytest.mark.slow
@pytest.mark.timeout(500)
def test_backlog(client: Client, fleet: Fleet, submit: Submit, proved: Proved) -> None:
    empty = memory(client)
    started = time.monotonic()
    jobs, jobs_per_tenant, claims = JOBS, JOBS // TENANTS, CLAIMS
    handles = [
        submit(lane="batch", tenant=f"tenant-{tenant}")
        for tenant in range(TENANTS)  # in blocks: first come, first served would starve the last
        for _ in range(jobs_per_tenant)
    ]
    rate = jobs / since(started)
    full = memory(client)
    worker = fleet.start()
    parent = psutil.Process(worker.process.pid)
    eventually(
        lambda: count_done(client._redis) >= TENANTS, awaited="the first claims"
    )  # all is loaded
    drained, at_first, already = time.monotonic(), rss(parent), count_done(client._redis)
    bound_s = 0.15 * claims + 30
    eventually(
        lambda: count_done(client._redis) >= claims,
        bound_s,
        awaited=f"{claims} claims",
        every_s=0.5,
    )
    speed = (claims - already) / since(drained)
    at_last = rss(parent)
    worker.kill()
    records = [handle._record() for handle in handles]
    order = sorted(
        (record.started_at, tenant(number, jobs_per_tenant), record)
        for number, record in enumerate(records)
        if record.started_at is not None and record.state is JobState.DONE
    )
    claimed = Counter(name for _, name, _ in order[: TENANTS * TURNS])
    p99 = quantiles(gaps([record for *_, record in order]), n=100)[-1]
    assert at_last - at_first < 50, f"the worker grew from {at_first:.0f} to {at_last:.0f} MiB"
    assert (full - empty) * 1024 / jobs < 10, "KiB a job in Redis"
    assert len(claimed) == TENANTS, f"the first claims are of {dict(claimed)}"
    assert min(claimed.values()) >= TURNS // 2, claimed
    assert max(claimed.values()) <= TURNS + RUNG, claimed
    proved(
        f"{jobs} queued at {rate:.0f}/s, {(full - empty) * 1024 / jobs:.1f} KiB each; of the first "
        f"{TENANTS * TURNS} claims each tenant had {min(claimed.values())} to "
        f"{max(claimed.values())}; "
        f"{speed:.0f} jobs/s, p99 from a job's end to the next claim {p99 * 1000:.0f} ms; "
        f"worker {at_first:.0f} to {at_last:.0f} MiB"
    )


def tenant(number: int, jobs_per_tenant: int) -> int:
    """Return the tenant of a job by its index in the submission."""
    return number // jobs_per_tenant


def memory(client: Client) -> float:
    """Return the MiB that Redis uses."""
    return float(client._redis.info("memory")["used_memory"]) / 2**20


def rss(parent: psutil.Process) -> float:
    """Return the MiB that a worker and its children use."""
    return sum(process.memory_info().rss for process in [parent, *parent.children()]) / 2**20


def gaps(records: list[Record]) -> list[float]:
    """Return the seconds from each job's end to the next claim of the same child."""

    def moment(value: datetime | None) -> datetime:
        assert value is not None
        return value

    return [
        max(0.0, (moment(after.started_at) - moment(before.finished_at)).total_seconds())
        for before, after in pairwise(records)
    ]
