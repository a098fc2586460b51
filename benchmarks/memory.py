"""``python -m benchmarks.memory``: memory that a large project and many jobs take.

Resident memory of the producer, and of a worker with its children and their engine sessions. On the
Dagger engine where one answers, else in the local sandbox.
"""

import argparse
import asyncio
import random
import sys
import tarfile
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Self

import psutil

from benchmarks.goals import Row, goal
from benchmarks.system import System, system
from revalid.jobs.errors import EngineUnavailable
from revalid.worker.sandboxes.dagger.engine import Engine

MB = 1_000_000
TARBALLS_MB = (60, 500)  # through Redis, and past it
JOBS = 1_000
WARM_UP = 50
_SAMPLE_S = 0.02
_NO_OP = [{"op": "exec", "command": "true"}]


class Peak(threading.Thread):
    """The peak memory of a process and its descendants inside the block, in bytes.

    Attributes:
        idle: What they held on entry.
    """

    def __init__(self, process: psutil.Process, *, alone: bool = False) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._alone = alone
        self._ended = threading.Event()
        self.idle = self.most = self.resident()

    def resident(self) -> int:
        """Return their current memory, in bytes."""
        held = 0
        below = [] if self._alone else self._process.children(recursive=True)
        for process in (self._process, *below):
            with suppress(psutil.Error):
                held += process.memory_info().rss
        return held

    @property
    def added_mb(self) -> float:
        """Return the peak above idle, in MB."""
        return (self.most - self.idle) / MB

    def run(self) -> None:
        """Sample the memory until the block ends."""
        while not self._ended.wait(_SAMPLE_S):
            self.most = max(self.most, self.resident())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def incompressible(path: Path, megabytes: int) -> None:
    """Write a tarball of random files."""
    content = path.with_suffix(".part")
    with tarfile.open(path, "w") as tar:
        for number in range(10):
            content.write_bytes(random.randbytes(megabytes * MB // 10))  # noqa: S311
            tar.add(content, f"{number}.bin")
    content.unlink()


def large_project(here: System, tarball: Path, megabytes: int) -> list[Row]:
    """Measure one large tarball, from the producer's file into the sandbox."""
    incompressible(tarball, megabytes)
    here.run(steps=_NO_OP)
    with Peak(psutil.Process(), alone=True) as producer, Peak(here.process) as workers:
        here.run(tarball, commands=["test -s 9.bin"])
    tarball.unlink()
    what = f"{megabytes} MB tarball, above idle:"
    return [
        goal(f"{what} producer", producer.added_mb, 200, " MB"),
        goal(f"{what} worker", workers.added_mb, 200, " MB"),
    ]


def many_jobs(here: System, jobs: int) -> list[Row]:
    """Measure successive no-op jobs: the last ones need no more memory than the first."""
    held = []
    watch = Peak(here.process)
    for number in range(WARM_UP + jobs):
        here.run(steps=_NO_OP)
        if number >= WARM_UP:
            held.append(watch.resident())
    first, last = median(held[: jobs // 10]), median(held[-jobs // 10 :])
    print(f"  worker: {first / MB:.0f} MB, after {jobs} jobs {last / MB:.0f} MB")
    return [goal(f"{jobs} jobs: worker's memory, last over first tenth", last / first, 1.1)]


async def cache_bytes() -> tuple[int, int] | None:
    """Return size and limit of the engine's cache; None if no engine answers."""
    engine = Engine(timeout_s=30)
    try:
        cache = (await engine.client()).engine().local_cache()
        return await cache.entry_set().disk_space_bytes(), await cache.max_used_space()
    except EngineUnavailable:
        return None
    finally:
        await engine.close()


def measure(jobs: int = JOBS) -> list[Row]:
    """Return all rows."""
    before = asyncio.run(cache_bytes())
    sandbox = "local" if before is None else "dagger"
    print(f"\nmemory, {sandbox} sandbox")
    with tempfile.TemporaryDirectory(prefix="revalid-bench-") as directory:
        root = Path(directory)
        with system(root / "home", slots=1, sandbox=sandbox) as here:
            rows = many_jobs(here, jobs)
            for megabytes in TARBALLS_MB:
                rows += large_project(here, root / "large.tar", megabytes)
    if before is not None and (after := asyncio.run(cache_bytes())) is not None:
        print(f"  engine's cache: {before[0] / MB:.0f} MB before, {after[0] / MB:.0f} MB after")
        rows.append(goal("engine's cache over its bound", after[0] / after[1], 1))
    return rows


def main() -> int:
    """Print the rows; return 0 even if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    measure(parser.parse_args().jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
