"""``make storm``: ten minutes of short jobs on three workers, while everything around them fails.

One worker reaches the broker through a proxy that becomes a black hole. Leases are real. With
PREVIOUS=rev a fourth worker runs that revision's code. The exit status is 1 if a job was lost,
recorded twice or stuck, if a slot stopped running jobs, or if a worker ended by itself. SEED
repeats the order of the faults, but not their timing on the machine.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from redis import RedisError

from revalid.jobs.errors import RevalidError, UnknownJob
from revalid.jobs.job import Lane
from revalid.jobs.ledger.record import JobState, Record
from revalid.jobs.queue import queue_name
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client, JobHandle
from tests.faults.effects import since, types
from tests.faults.fleet import Broker, Fleet, Worker, eventually
from tests.faults.proxy import Proxy

SLOTS = 2
AHEAD = 16
"""Jobs that are queued or running at a time."""

FAULT_EVERY_S = 4.0
STUCK_S = 180.0
"""After the last fault all jobs are done in this time: three leases, and what waits behind them."""

SLOTS_S = 90.0
LIVENESS_S = 60.0
"""A frozen worker is replaced after this at the latest, as by a liveness probe."""

GARBAGE = [
    "garbage",
    "{}",
    "[]",
    '{"body": 1, "headers": {}}',
    '{"body": "", "headers": {"id": "x"}, "properties": {}, "content-type": "application/json"}',
    "\x00\xff",
]


@dataclass
class Job:
    """A running job and its allowed outcomes."""

    number: int
    handle: JobHandle
    cancelled: bool = False


@dataclass
class Tally:
    """The counts of a storm."""

    seed: int
    jobs: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    again: int = 0
    slots: int = 0
    wrong: dict[str, list[str]] = field(
        default_factory=lambda: {
            name: []
            for name in (
                "lost",
                "doubled",
                "stuck",
                "wrong verdicts",
                "slots leaked",
                "workers that ended by themselves",
            )
        }
    )
    previous: str = "none"
    previous_ended: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing went wrong."""
        return not any(self.wrong.values())

    def __str__(self) -> str:
        """Return a table of counts, followed by the errors."""
        rows: list[tuple[str, object]] = [("jobs", self.jobs)]
        rows += [(f"  {verdict}", number) for verdict, number in sorted(self.verdicts.items())]
        rows += [("  ran again", self.again), ("faults", self.faults.total())]
        rows += [(f"  {kind}", number) for kind, number in sorted(self.faults.items())]
        rows += [(name, len(errors)) for name, errors in self.wrong.items()]
        rows += [("slots that ran a job at the end", self.slots)]
        rows += [("previous version", self.previous), ("  of it ended", self.previous_ended)]
        rows += [("seed", self.seed)]
        lines = [f"{name:<36}{value}" for name, value in rows]
        return "\n".join([*lines, *(text for errors in self.wrong.values() for text in errors)])


class Storm:
    """Submits jobs and causes faults, then heals everything and counts."""

    def __init__(
        self,
        directory: Path,
        broker: Broker,
        proxy: Proxy,
        client: Client,
        *,
        seed: int,
        previous: Path | None = None,
    ) -> None:
        self._directory, self._broker, self._proxy, self._client = directory, broker, proxy, client
        self._chance = random.Random(seed)
        self._effects = directory / "effects"
        self._effects.touch()
        self._flying: list[Job] = []
        self._submitted = 0
        self._heals: list[tuple[float, Callable[[], None]]] = []
        self._down = False
        self.fleet = Fleet(broker.url, directory)
        self.tally = Tally(seed)
        self._projects = [directory / f"project-{number}" for number in range(4)]
        for project in self._projects:
            project.mkdir()
            (project / "file").write_text(project.name)
        environs: list[dict[str, str]] = [
            {},
            {},
            {"REVALID_BROKER_URL": f"redis://127.0.0.1:{proxy.port}/0"},
        ]
        modules = ["revalid.worker"] * len(environs)
        if previous is not None:
            environs.append({"PYTHONPATH": str(previous)})
            modules.append("revalid.worker" if (previous / "revalid").is_dir() else "worker")
        for module, environ in zip(modules, environs, strict=True):
            environ = {"REVALID_CONCURRENCY": str(SLOTS), **environ}
            self.fleet.start(home=None, wait=False, module=module, **environ)
        for worker in self.fleet.workers:
            self.fleet.await_ready(worker)

    def run(self, seconds: float) -> None:
        """Cause faults for ``seconds``, then finish the jobs and run one job in each slot."""
        ends = time.monotonic() + seconds
        due = time.monotonic()
        while time.monotonic() < ends:
            if time.monotonic() >= due:
                due += self._chance.expovariate(1 / FAULT_EVERY_S)
                self._strike()
            while len(self._flying) < AHEAD and self._submit():
                pass
            self._turn()
        for _, heal in sorted(self._heals, key=lambda item: item[0]):
            heal()
        self._heals.clear()
        healed = time.monotonic()
        while self._flying and since(healed) < STUCK_S:
            self._turn()
        for job in self._flying:
            self._wrong("stuck", job)
        self._fill_slots()

    def _turn(self) -> None:
        now = time.monotonic()
        for heal in [heal for due, heal in self._heals if due <= now]:
            heal()
        self._heals = [item for item in self._heals if item[0] > now]
        for worker in self.fleet.keep_up():
            if self._is_previous(worker):
                self.tally.previous_ended += 1
            else:
                code = worker.process.returncode
                text = f"{worker.log} ended with status {code}"
                self.tally.wrong["workers that ended by themselves"].append(text)
        with suppress(RevalidError):
            self._collect()
        time.sleep(0.1)

    def _is_previous(self, worker: Worker) -> bool:
        return "PYTHONPATH" in worker.environ

    def _submit(self) -> bool:
        """Submit the next job; a job that was not acknowledged is submitted again and joined."""
        number = self._submitted
        chance = random.Random(f"{self.tally.seed} {number}")
        seconds = chance.choice([0.1, 0.5, 1, 1, 2, 3, 5])
        command = f"echo start {number} >> {self._effects}; sleep {seconds}"
        try:
            handle = self._client.submit(
                chance.choice([None, *self._projects]),
                steps=[{"op": "exec", "command": command}],
                sandbox="local",
                lane=chance.choice(list(Lane)),
                tenant=chance.choice(["red", "green", "blue"]),
                nonce=f"storm-{number}",
            )
        except RevalidError:
            return False
        self._flying.append(Job(number, handle))
        self._submitted += 1
        return True

    def _collect(self) -> None:
        for job in list(self._flying):
            try:
                record = job.handle._record()
            except UnknownJob:
                self._flying.remove(job)
                self._wrong("lost", job)
                continue
            if record.state is not JobState.DONE:
                continue
            finished = types(job.handle).count("finished")
            self._flying.remove(job)
            self._judge(job, record, finished)

    def _judge(self, job: Job, record: Record, finished: int) -> None:
        tally = self.tally
        tally.jobs += 1
        tally.verdicts[str(record.verdict)] += 1
        tally.again += record.attempts > 1
        started = self._effects.read_text().splitlines().count(f"start {job.number}")
        if finished != 1 or started > record.attempts:
            self._wrong("doubled", job, f"{finished} results, {started} runs", record)
        allowed = {Verdict.PASSED} | ({Verdict.CANCELLED} if job.cancelled else set())
        dead = record.verdict is Verdict.ERRORED and record.attempts - record.released >= 3
        if record.verdict not in allowed and not dead:
            self._wrong("wrong verdicts", job, record)
        if record.verdict is Verdict.PASSED and not started:
            self._wrong("lost", job, "passed without a run", record)

    def _wrong(self, name: str, job: Job, *facts: object) -> None:
        text = " ".join(map(str, (f"job {job.number}", job.handle.id, *facts)))
        self.tally.wrong[name].append(f"{name}: {text[:2_000]}")

    def _fill_slots(self) -> None:
        """Run one job in each slot: the jobs wait for each other."""
        workers = [
            worker
            for worker in self.fleet.workers
            if worker.alive and not self._is_previous(worker)
        ]
        slots = len(workers) * SLOTS
        for worker in self.fleet.workers:
            if self._is_previous(worker):
                worker.kill()
        there, gate = self._directory / "there", self._directory / "gate"
        there.mkdir()
        command = f"echo $PPID > {there}/$(cat file); until [ -e {gate} ]; do sleep 0.2; done"
        handles = []
        for number in range(slots):
            project = self._directory / f"slot-{number}"
            project.mkdir()
            (project / "file").write_text(str(number))
            steps = [{"op": "exec", "command": command}]
            handles.append(self._client.submit(project, steps=steps, sandbox="local"))
        with suppress(AssertionError):
            eventually(lambda: len(list(there.iterdir())) == slots, SLOTS_S, every_s=0.5)
        self.tally.slots = len(list(there.iterdir()))
        missing = slots - self.tally.slots
        busy = Counter(handle.status().worker for handle in handles)
        message = f"slots leaked: {slots} slots, busy: {dict(busy)}"
        self.tally.wrong["slots leaked"] += [message] * missing
        gate.touch()

    def _strike(self) -> None:
        kinds = {
            self._kill_child: 4,
            self._kill_parent: 2,
            self._kill_worker: 2,
            self._freeze_child: 3,
            self._freeze_worker: 1,
            self._fill_redis: 2,
            self._cut: 2,
            self._cancel: 4,
            self._litter: 3,
            self._kill_redis: 2,
            self._black_hole: 2,
        }
        (kind,) = self._chance.choices(list(kinds), list(kinds.values()))
        with suppress(RevalidError, RedisError, psutil.Error, IndexError):
            kind()
            self.tally.faults[kind.__name__.strip("_").replace("_", " ")] += 1

    def _later(self, seconds: float, heal: Callable[[], None]) -> None:
        self._heals.append((time.monotonic() + seconds, heal))

    def _worker(self) -> Worker:
        """Choose a worker that takes jobs and is not frozen."""
        return self._chance.choice(
            [
                worker
                for worker in self.fleet.workers
                if worker.ready and psutil.Process(worker.process.pid).status() != "stopped"
            ]
        )

    def _kill_child(self) -> None:
        self._chance.choice(self._worker().children()).kill()

    def _kill_parent(self) -> None:
        worker = self._worker()
        worker.condemned = True
        worker.process.kill()
        worker.process.wait(10)
        self._later(
            self._chance.uniform(0, 5),
            lambda: self.fleet.start_again(worker),
        )

    def _kill_worker(self) -> None:
        self.fleet.replace(self._worker())

    def _freeze_child(self) -> None:
        self._chance.choice(self._worker().children()).suspend()

    def _freeze_worker(self) -> None:
        worker = self._worker()
        worker.freeze()
        self._later(self._chance.uniform(20, LIVENESS_S), lambda: self.fleet.replace(worker))

    def _fill_redis(self) -> None:
        self._client._redis.config_set("maxmemory", "1mb")
        self._later(self._chance.uniform(3, 15), self._empty_redis)

    def _empty_redis(self) -> None:
        with suppress(RedisError):  # it is down, and comes back without a bound
            self._client._redis.config_set("maxmemory", "0")

    def _cut(self) -> None:
        for kind in ("normal", "pubsub"):
            self._client._redis.client_kill_filter(_type=kind, skipme=True)

    def _cancel(self) -> None:
        job = self._chance.choice(self._flying)
        job.cancelled = True
        job.handle.cancel()

    def _litter(self) -> None:
        queue = queue_name(self._chance.choice(list(Lane)))
        key = f"{queue}\x06\x169" if queue.endswith(Lane.BATCH) else queue
        self._client._redis.lpush(key, self._chance.choice(GARBAGE))

    def _kill_redis(self) -> None:
        if self._down:
            raise IndexError
        self._broker.kill()
        self._down = True

        def restart() -> None:
            self._broker.start()
            self._down = False

        self._later(self._chance.uniform(0.2, 10), restart)

    def _black_hole(self) -> None:
        self._proxy.swallow()
        self._later(self._chance.uniform(5, 60), self._proxy.forward)


def checked_out(revision: str, directory: Path) -> Path:
    """Export a revision of this repository and return its directory."""
    directory.mkdir()
    archive = subprocess.run(["git", "archive", revision], capture_output=True, check=True)
    subprocess.run(["tar", "x", "-C", str(directory)], input=archive.stdout, check=True)
    return directory


def storm(directory: Path, seconds: float, seed: int, previous: str | None = None) -> Tally:
    """Run a storm on its own broker and workers; return its counts."""
    code = checked_out(previous, directory / "previous") if previous else None
    broker = Broker(directory)
    broker.start()
    settings = load_settings({}, env_file=None, broker_url=broker.url)
    with Proxy(broker.socket) as proxy, Client(settings) as client:
        running_storm = Storm(directory, broker, proxy, client, seed=seed, previous=code)
        running_storm.tally.previous = previous or "none"
        try:
            running_storm.run(seconds)
        finally:
            running_storm.fleet.end()
            broker.kill()
    return running_storm.tally


def main() -> int:
    """Run a storm; return 1 and keep the workers' logs if something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--previous", help="revision of a fourth worker")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)  # noqa: T201
    directory = Path(tempfile.mkdtemp(prefix="storm-"))
    tally = storm(directory, 60 * options.minutes, options.seed, options.previous or None)
    print(tally)  # noqa: T201
    if tally.good:
        subprocess.run(["rm", "-rf", str(directory)], check=True)
    else:
        print(f"the workers' logs and homes are in {directory}")  # noqa: T201
    return 0 if tally.good else 1


if __name__ == "__main__":
    sys.exit(main())
