"""``python -m benchmarks.web``: the web examples under many submits and open event streams at once.

No worker runs until every stream is open, so that all of them are open together. Then as many jobs
again are submitted while the first ones run. A stream that breaks, repeats an event or does not see
``finished`` once, as its last, is an error: nobody here connects again.
"""

import argparse
import asyncio
import io
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import httpx
import psutil

from benchmarks.backends import COMMANDS, free_port, serving
from revalid.jobs.settings import Settings, load_settings
from revalid.producer.client import Client
from revalid.producer.local.workers import attached, worker_environ

BOUND_S = 600


@dataclass
class Figures:
    """Measurements of one example; times in seconds."""

    submits: list[float]
    submits_s: float
    busy_submits: list[float]
    delays: list[float]
    jobs_s: float
    memory_bytes: int

    def __str__(self) -> str:
        count = len(self.submits)
        per_second = count / self.submits_s
        rows = {
            f"submits, {count} at once": f"{_ms(self.submits)}, {per_second:.0f} a second",
            f"the same, {count} streams open": _ms(self.busy_submits),
            "from a job's end to its event": _ms(self.delays),
            f"all {2 * count} jobs done after": f"{self.jobs_s:.1f} s",
            "server's memory, streams open": f"{self.memory_bytes / 2**20:.0f} MiB",
        }
        return "\n".join(f"  {name:34} {figure}" for name, figure in rows.items())


def _ms(times: list[float]) -> str:
    cuts = quantiles(times, n=20, method="inclusive")
    return f"p50 {cuts[9] * 1000:.0f} ms, p95 {cuts[18] * 1000:.0f} ms"


class Crowd:
    """Many users of one example at once."""

    def __init__(self, http: httpx.AsyncClient, number: int) -> None:
        self.http = http
        self.number = number
        self.open = 0
        self.all_open = asyncio.Event()
        self.delays: list[float] = []

    async def submit_all(self) -> tuple[list[str], list[float]]:
        """Submit one job per user; return the ids, and how long each user waited."""
        found = await asyncio.gather(*(self._submit() for _ in range(self.number)))
        return [job_id for job_id, _ in found], [waited for _, waited in found]

    async def _submit(self) -> tuple[str, float]:
        files = {"project": _tarball()}
        started = time.perf_counter()
        answer = await self.http.post("/validations", files=files, data={"commands": ["true"]})
        waited = time.perf_counter() - started
        assert answer.status_code == 202, answer.text
        return answer.json()["id"], waited

    async def follow(self, job_id: str) -> None:
        """Read a job's events to their end, and check them."""
        seen: list[tuple[str, str]] = []
        event_id = ""
        async with self.http.stream("GET", f"/validations/{job_id}/events") as answer:
            assert answer.status_code == 200, answer.status_code
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    event_id = value
                elif name == "event":
                    seen.append((event_id, value))
                    self._saw(event_id, value)
        types = [type_ for _, type_ in seen]
        assert (types[0], types[-1], types.count("finished")) == ("queued", "finished", 1), types
        assert len({*seen}) == len(seen), seen

    def _saw(self, event_id: str, type_: str) -> None:
        if type_ == "queued":
            self.open += 1
            if self.open == self.number:
                self.all_open.set()
        elif type_ == "finished":
            # The id begins with the milliseconds of Redis's clock, which is this machine's.
            self.delays.append(time.time() - int(event_id.partition("-")[0]) / 1000)


async def measure(name: str, settings: Settings, home: Path, number: int) -> Figures:
    """Put load on one example, on the broker of the settings, and check that nothing is lost."""
    assert settings.broker_url is not None
    port = free_port()
    with serving(name, settings.broker_url, home / f"{name}.log", port=port) as server:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60, trust_env=False
            ) as http,
            asyncio.timeout(BOUND_S),
        ):
            crowd = Crowd(http, number)
            started = time.perf_counter()
            ids, submits = await crowd.submit_all()
            submits_s = time.perf_counter() - started
            async with asyncio.TaskGroup() as group:
                for job_id in ids:
                    group.create_task(crowd.follow(job_id))
                await crowd.all_open.wait()
                memory = psutil.Process(server.pid).memory_info().rss
                with working(settings, home / "worker.log"):
                    started = time.perf_counter()
                    more, busy_submits = await crowd.submit_all()
                    await asyncio.to_thread(_all_passed, settings, ids + more)
                    jobs_s = time.perf_counter() - started
            assert len(crowd.delays) == number
            for job_id in ids + more:
                answer = (await http.get(f"/validations/{job_id}")).json()
                assert answer["result"]["verdict"] == "passed", answer
    return Figures(submits, submits_s, busy_submits, crowd.delays, jobs_s, memory)


def _all_passed(settings: Settings, ids: list[str]) -> None:
    with Client(settings) as client:
        for job_id in ids:
            assert client.job(job_id).result(BOUND_S).verdict == "passed"


@contextmanager
def working(settings: Settings, log: Path) -> Iterator[None]:
    """Run a worker of the common queues, with the local sandbox."""
    with (
        log.open("ab") as out,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "revalid.worker", "--exit-with-parent"],
            env=worker_environ(settings),
            cwd="/",
            stdin=subprocess.PIPE,  # closed as this block ends, and with it the worker
            stdout=out,
            stderr=out,
            start_new_session=True,
        ),
    ):
        yield


def _tarball() -> bytes:
    """Make a project that was not submitted before."""
    content = uuid.uuid4().bytes
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("token.txt")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@contextmanager
def broker(home: Path) -> Iterator[Settings]:
    """Return settings of an embedded broker below ``home``."""
    environ = {"REVALID_SANDBOX": "local", "REVALID_CONCURRENCY": "2"}
    with attached(load_settings(environ, env_file=None, home=home)) as settings:
        yield settings


def main() -> None:
    """Print the figures of each example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200, help="submits and streams at once")
    number = parser.parse_args().number
    with tempfile.TemporaryDirectory(prefix="revalid-bench-") as directory:
        for name in COMMANDS:
            home = Path(directory) / name
            home.mkdir()
            with broker(home) as settings:
                print(f"{name}\n{asyncio.run(measure(name, settings, home, number))}", flush=True)


if __name__ == "__main__":
    main()
