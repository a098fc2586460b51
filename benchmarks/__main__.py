"""``make bench``: every goal of the project, as ratios measured in one run.

Needs a Dagger engine. ``docker run`` is left out where no Docker answers; ``BENCH_DOCKER`` holds
further options for it. Writes ``benchmarks/results.json`` and ``docs/images/goals.svg``.
"""

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from benchmarks import example, memory, no_op, queue, width
from benchmarks.goals import Row
from benchmarks.plot import plot
from revalid.jobs.errors import EngineUnavailable
from revalid.jobs.settings import VERSION
from revalid.worker.sandboxes.dagger.engine import Engine

RESULTS = Path(__file__).with_name("results.json")
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "goals.svg"

Section = Callable[[Path, Engine], Awaitable[list[Row]]]


async def _no_op(scratch: Path, engine: Engine) -> list[Row]:
    rows = await no_op.one_at_a_time(scratch / "home", engine)
    rows += await no_op.wide(scratch / "home", engine)
    await no_op.operations(engine)
    return rows


async def _example(scratch: Path, _engine: Engine) -> list[Row]:
    rows, local = await example.example(scratch / "home", scratch)
    return rows + await example.variants(scratch / "home", scratch, local)


SECTIONS: dict[str, Section] = {
    "no-op": _no_op,
    "example": _example,
    "queue": lambda *_: asyncio.to_thread(queue.measure),
    "memory": lambda *_: asyncio.to_thread(memory.measure),
    "width": lambda scratch, _: width.measure(scratch),
}
WITHOUT_GOAL = {"width"}


async def machine(engine: Engine) -> dict[str, object]:
    """Describe the machine on which the figures were measured."""
    version = await (await engine.client()).version()
    return {
        "revalid": VERSION,
        "python": platform.python_version(),
        "engine": version,
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load_before": round(psutil.getloadavg()[0], 1),
    }


async def main() -> int:
    """Run every benchmark; return 0 even if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=SECTIONS, action="append", help="write no results")
    options = parser.parse_args()
    rows: list[Row] = []
    engine = Engine(timeout_s=30)
    started = time.monotonic()
    try:
        about = await machine(engine)
        print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
        for name in options.only or (name for name in SECTIONS if name not in WITHOUT_GOAL):
            with tempfile.TemporaryDirectory(prefix="revalid-bench-") as scratch:
                rows += await SECTIONS[name](Path(scratch), engine)
    except EngineUnavailable as error:
        sys.stderr.write(f"error: {error}\n")
        return 3
    finally:
        await engine.close()
    about["minutes"] = round((time.monotonic() - started) / 60, 1)
    if rows:
        print(f"\n{sum(bool(row['met']) for row in rows)} of {len(rows)} goals met")
    if not options.only:
        RESULTS.write_text(json.dumps({"machine": about, "goals": rows}, indent=2) + "\n")
        plot(rows, PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
