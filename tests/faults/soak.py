"""``make soak``: thousands of short jobs on two children that are killed now and then.

It prints what Redis and the worker use over time, and whether that is level in the second half.
Finished jobs are kept for only a minute, so that leaks in Redis show.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil
from redis import Redis

from revalid.jobs.ledger.record import JobState
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client, JobHandle
from tests.faults.effects import since, types
from tests.faults.fleet import Broker, Fleet, Worker, eventually

AHEAD = 64
"""Jobs that are queued or running at a time."""

JOB_TIMEOUT_S = 5
"""Celery's parent keeps the timer of a hard limit until it is due, also when the job is done."""

KEPT_S = 60
SAMPLES = 20
LOST_S = 180.0
MEMORY_SLACK_MIB = 12.0
DESCRIPTOR_SLACK = 8


@dataclass(frozen=True)
class Sample:
    """Use of memory and Redis at one moment; memory in MiB."""

    jobs: int
    redis: float
    keys: int
    celery: int
    clients: int
    parent: float
    parent_fds: int
    children: float
    children_fds: int
    threads: int

    def __str__(self) -> str:
        return "".join(
            f"{value:>13.1f}" if isinstance(value, float) else f"{value:>13}"
            for value in astuple(self)
        )


HEAD = "".join(f"{field.name:>13}" for field in fields(Sample))


def sample(jobs: int, redis: Redis, worker: Worker) -> Sample:
    """Measure Redis and the worker's processes."""
    parent = psutil.Process(worker.process.pid)
    memory, descriptors = [], []
    for child in worker.children():
        with suppress(psutil.Error):
            memory.append(child.memory_info().rss / 2**20)
            descriptors.append(child.num_fds())
    results = sum(1 for _ in redis.scan_iter("celery-task-meta-*", count=1_000))
    return Sample(
        jobs=jobs,
        redis=float(redis.info("memory")["used_memory"]) / 2**20,
        keys=int(redis.dbsize()) - results,
        celery=results,
        clients=int(redis.info("clients")["connected_clients"]),
        parent=parent.memory_info().rss / 2**20,
        parent_fds=parent.num_fds(),
        children=max(memory, default=0.0),
        children_fds=max(descriptors, default=0),
        threads=parent.num_threads(),
    )


class Soak:
    """Keeps :data:`AHEAD` jobs in the queue, and checks each as it ends."""

    def __init__(self, client: Client, worker: Worker, *, jobs: int, kills: int, seed: int) -> None:
        self._client, self._worker = client, worker
        self._jobs, self._kills = jobs, kills
        self._chance = random.Random(seed)
        self._flying: dict[str, tuple[JobHandle, float]] = {}
        self._submitted = self.finished = self.killed = self.again = 0
        self.wrong: Counter[str] = Counter()
        self.samples: list[Sample] = []

    def run(self) -> None:
        """Run all jobs to their ends."""
        print(HEAD)  # noqa: T201
        while self.finished < self._jobs:
            while self._submitted < self._jobs and len(self._flying) < AHEAD:
                self._submit()
            self._collect()
            if self.finished > self._jobs * (self.killed + 1) / (self._kills + 1):
                self._kill()
            if self.finished >= self._jobs * (len(self.samples) + 1) / SAMPLES:
                self.look()
            time.sleep(0.1)

    def look(self) -> None:
        """Take a sample and print it."""
        self.samples.append(sample(self.finished, self._client._redis, self._worker))
        print(self.samples[-1], flush=True)  # noqa: T201

    def _submit(self) -> None:
        steps = [{"op": "exec", "command": "true"}]
        handle = self._client.submit(
            None,
            steps=steps,
            sandbox="local",
            lane="batch",
            limits={"job_timeout_s": JOB_TIMEOUT_S},
            fresh=True,
        )
        self._flying[handle.id] = handle, time.monotonic()
        self._submitted += 1

    def _collect(self) -> None:
        for handle, submitted in list(self._flying.values()):
            record = handle.status()
            if record.state is not JobState.DONE:
                if since(submitted) < LOST_S:
                    continue
                self.wrong["lost"] += 1
            elif record.verdict != "passed":
                self.wrong[str(record.verdict)] += 1
            elif types(handle).count("finished") != 1:
                self.wrong["recorded twice"] += 1
            self.again += record.attempts > 1
            self.finished += 1
            del self._flying[handle.id]

    def _kill(self) -> None:
        with suppress(psutil.Error, IndexError):
            self._chance.choice(self._worker.children()).kill()
        self.killed += 1


def growth(samples: list[Sample], name: str) -> float:
    """Return the growth of a figure's median from the third quarter to the last."""
    half = [float(getattr(reading, name)) for reading in samples[len(samples) // 2 :]]
    middle = len(half) // 2
    before, after = sorted(half[:middle]), sorted(half[middle:])
    return after[len(after) // 2] - before[len(before) // 2]


def main() -> int:
    """Run the soak test; return 1 if a job was lost or recorded twice, or a figure still grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of a child, spread out")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as directory:
        broker = Broker(Path(directory))
        broker.start()
        fleet = Fleet(broker.url, Path(directory))
        started = time.monotonic()
        try:
            with Client(load_settings({}, env_file=None, broker_url=broker.url)) as client:
                ttl = str(KEPT_S)
                worker = fleet.start(REVALID_CONCURRENCY="2", REVALID_RESULT_TTL_S=ttl)
                soak = Soak(
                    client, worker, jobs=options.jobs, kills=options.kills, seed=options.seed
                )
                soak.run()
                took = since(started)
                eventually(lambda: not client._redis.keys("revalid:job:*"), 3 * KEPT_S, every_s=1)
                soak.look()
                remaining = sorted(str(key) for key in client._redis.keys("revalid:*"))
        finally:
            fleet.end()
            broker.kill()
    bounds = {
        "redis": MEMORY_SLACK_MIB,
        "clients": DESCRIPTOR_SLACK,
        "parent": MEMORY_SLACK_MIB,
        "parent_fds": DESCRIPTOR_SLACK,
        "children": MEMORY_SLACK_MIB,
        "children_fds": DESCRIPTOR_SLACK,
        "threads": DESCRIPTOR_SLACK,
    }
    grown = {name: growth(soak.samples[:-1], name) for name in bounds}
    print(  # noqa: T201
        f"{soak.finished} jobs in {took:.0f} s ({soak.finished / took:.1f}/s), "
        f"{soak.killed} kills, "
        f"{soak.again} run again; wrong: {dict(soak.wrong) or 'none'}\n"
        f"growth in the last quarter: "
        + ", ".join(f"{name} {value:+.1f}" for name, value in grown.items())
        + f"\nkeys left of revalid's own: {', '.join(remaining) or 'none'}"
    )
    level = all(value <= bounds[name] for name, value in grown.items())
    print("level" if level else "NOT LEVEL")  # noqa: T201
    return 0 if level and not soak.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
