"""Row 2: workers and their children are killed again and again while they drain a queue."""

import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from revalid.producer.client import Client
from tests.faults.conftest import Proved, Submit
from tests.faults.effects import count_done, since, text_list, types
from tests.faults.fleet import Fleet
from tests.faults.storm import storm

ROUND_S = 0.1


def strike(fleet: Fleet, client: Client, chance: random.Random) -> str:
    """Kill a whole worker and replace it, or kill one of a worker's children."""
    standing = [worker for worker in fleet.workers if worker.alive]
    worker = chance.choice(standing)
    children = worker.children()
    if children and chance.random() < 0.6:
        with suppress(psutil.NoSuchProcess):
            chance.choice(children).kill()
        return "child"
    pids = {str(worker.process.pid), *(str(child.pid) for child in children)}
    worker.kill()
    end_leases(client, pids)
    fleet.start(wait=False)
    return "worker"


def end_leases(client: Client, pids: set[str]) -> None:
    """End the leases of dead processes now; row 1 measures the real time."""
    for job_id in text_list(client._redis, "ZRANGE", "revalid:running", 0, -1):
        owner = client.job(job_id).status().worker
        if owner.rpartition(":")[2] in pids:
            client._redis.zadd("revalid:running", {job_id: 0}, xx=True)


@pytest.mark.row(2)
@pytest.mark.parametrize(
    ("jobs", "kills"),
    [(80, 2), pytest.param(4_000, 25, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def test_storm(
    client: Client, fleet: Fleet, submit: Submit, proved: Proved, jobs: int, kills: int
) -> None:
    chance = random.Random(jobs)
    handles = [submit(lane="batch") for _ in range(jobs)]
    for worker in [fleet.start(wait=False), fleet.start(wait=False)]:
        fleet.await_ready(worker)
    started = time.monotonic()
    struck = Counter[str]()
    while (ended := count_done(client._redis)) < jobs and since(started) < 0.13 * jobs + 60:
        fleet.keep_up()
        if ended > jobs * (struck.total() + 1) / (kills + 1):
            struck[strike(fleet, client, chance)] += 1
        time.sleep(ROUND_S)
    took = since(started)
    ends, attempts = Counter[str](), Counter[int]()
    for handle in handles:
        record = handle.status()
        effects = types(handle).count("finished")
        ends[f"{record.state}/{record.verdict}, {effects} recorded"] += 1
        attempts[record.attempts] += 1
    assert struck.total() == kills, struck
    assert ends == {"done/passed, 1 recorded": jobs}, ends
    more = sum(number for tries, number in attempts.items() if tries > 1)
    proved(
        f"{jobs} jobs, {kills} kills ({struck['worker']} of workers, {struck['child']} of "
        f"children) in {took:.0f} s: 0 lost, 0 recorded twice, {more} run again"
    )


@pytest.mark.row(2)
@pytest.mark.slow
@pytest.mark.timeout(500)
def test_everything_at_once(short: Path, proved: Proved) -> None:
    """Run half a minute of ``make storm``."""
    tally = storm(short, seconds=30, seed=1)
    assert tally.good, str(tally)
    proved(f"{tally.faults.total()} faults of all kinds at random: {tally.jobs} jobs, none lost")
