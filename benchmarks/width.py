"""Measures jobs per second by the slots of a worker; the default number follows from it."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.example import change, copy
from benchmarks.goals import Row
from benchmarks.system import System, system

NO_OPS = 64
APPS = 8
_STEPS = [{"op": "exec", "command": "true"}]


async def rate(home: Path, slots: int, fields: list[dict[str, Any]], warm: int) -> float:
    """Return jobs per second, after ``warm`` jobs for warm-up."""

    def run(here: System, part: list[dict[str, Any]]) -> None:
        handles = [here.submit(sandbox="dagger", **job) for job in part]
        assert all(handle.result(900).verdict == "passed" for handle in handles)

    with system(home, slots=slots) as here:
        await asyncio.to_thread(run, here, fields[:warm])
        started = time.perf_counter()
        await asyncio.to_thread(run, here, fields[warm:])
        return (len(fields) - warm) / (time.perf_counter() - started)


async def measure(scratch: Path) -> list[Row]:
    """Print the rates; there is no goal."""
    projects = [copy(scratch / f"app-{number}") for number in range(APPS)]

    def no_ops() -> list[dict[str, Any]]:
        return [{"steps": _STEPS}] * NO_OPS

    def apps() -> list[dict[str, Any]]:
        for project in projects:
            change(project)
        return [{"project": project} for project in projects]

    kinds: dict[str, tuple[Callable[[], list[dict[str, Any]]], tuple[int, ...], int]] = {
        "no-op": (no_ops, (1, 2, 4, 8), 16),
        "tRPC example, install replayed": (apps, (1, 2, 4), 2),
    }
    print("\njobs a second by slots")
    for kind, (made, widths, warm) in kinds.items():
        for slots in widths:
            found = await rate(scratch / "home", slots, made(), warm)
            print(f"  {kind:34} {slots:2} slots  {found:6.2f}/s", flush=True)
    return []
