"""Measures the tRPC example on the engine against the same commands in a directory."""

import asyncio
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.goals import Row, goal
from benchmarks.measure import Times, show
from benchmarks.system import System, system
from revalid.jobs.job import DEFAULT_IMAGE, Job, StrategyName
from revalid.jobs.source import PathSource
from revalid.jobs.steps import Exec
from revalid.worker.strategies.dispatch import PlannedStep, make_plan

EXAMPLE = Path(__file__).parents[1] / "examples" / "trpc-app"
ROUNDS = 3
VARIANTS = 50
IN_PLACE_MARGIN_S = 3.0


def copy(to: Path) -> Path:
    """Copy the example without installed or built files."""
    shutil.copytree(EXAMPLE, to, ignore=shutil.ignore_patterns("node_modules", "dist"))
    return to


def relock(project: Path) -> None:
    """Change a version, and so the lockfile, so that no install is cached."""
    for name in ("package.json", "package-lock.json"):
        file = project / name
        document = json.loads(file.read_text())
        document["version"] = f"0.0.{uuid.uuid4().int % 10**9}"
        if "packages" in document:
            document["packages"][""]["version"] = document["version"]
        file.write_text(json.dumps(document))


def change(project: Path) -> None:
    """Change a source file; the lockfile stays."""
    text = f"export const run = {uuid.uuid4().int % 10**9};\n"
    (project / "server" / "src" / "run.ts").write_text(text)


def planned(project: Path) -> list[PlannedStep]:
    """Return the steps of the job."""
    source = PathSource(path=str(project))
    job = Job(source=source, strategy=StrategyName.TRPC, image=DEFAULT_IMAGE)
    return [step for step in make_plan(job, project).steps if step.skipped_reason is None]


async def plainly(project: Path, steps: Iterable[PlannedStep]) -> tuple[float, float]:
    """Return the seconds that the same commands take in a shell here, with the user's own caches.

    Returns:
        By the clock, and of all processors.
    """
    started, before = time.perf_counter(), os.times()
    for step in steps:
        assert isinstance(step.step, Exec)
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", step.step.command),
            cwd=project,
            env={**os.environ, "CI": "true"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() == 0, step
    took, after = time.perf_counter() - started, os.times()
    used = after.children_user + after.children_system
    return took, used - before.children_user - before.children_system


async def in_sandbox(here: System, project: Path) -> float:
    """Return the seconds from submit to result."""
    started = time.perf_counter()
    await here.arun(project)
    return time.perf_counter() - started


@dataclass(frozen=True)
class Local:
    """Return the medians of the local runs, in seconds.

    Attributes:
        clean: With a clean install, by the clock.
        checks: Of all processors, without the install.
    """

    clean: float
    checks: float


async def example(home: Path, scratch: Path) -> tuple[list[Row], Local]:
    """Measure one job at a time: cold, and with a changed source."""
    project, plain = copy(scratch / "project"), scratch / "plain"
    processors: list[float] = []
    found: dict[str, list[float]] = {
        "cold": [],
        "source changed": [],
        "local, clean install": [],
        "local, node_modules in place": [],
    }
    with system(home, slots=1) as here:
        await in_sandbox(here, project)  # the image is there, the caches are filled
        await plainly(shutil.copytree(project, plain), planned(project))
        for _ in range(ROUNDS):
            relock(project)
            found["cold"].append(await in_sandbox(here, project))
            shutil.rmtree(plain)
            shutil.copytree(project, plain)
            steps = planned(project)
            found["local, clean install"].append((await plainly(plain, steps))[0])
            change(project)
            change(plain)
            found["source changed"].append(await in_sandbox(here, project))
            rest = [step for step in steps if not step.install]
            took, used = await plainly(plain, rest)
            found["local, node_modules in place"].append(took)
            processors.append(used)
    times = {name: Times(tuple(runs)) for name, runs in found.items()}
    show("tRPC example: install, build, type checks, tests", times)
    clean = times["local, clean install"].p50
    changed = times["source changed"].p50
    in_place = times["local, node_modules in place"].p50
    return [
        goal("tRPC example cold, over local", times["cold"].p50 / clean, 2),
        goal("source changed, over local with a clean install", changed / clean, 0.6),
        goal(
            "source changed, over local with node_modules in place + 3 s",
            changed / (in_place + IN_PLACE_MARGIN_S),
            1,
        ),
    ], Local(clean, median(processors))


async def variants(home: Path, scratch: Path, local: Local) -> list[Row]:
    """Measure many variants of one app in the batch lane, on a worker of the default width.

    The time of that many local runs is computed from one run.
    """
    base = copy(scratch / "base")
    relock(base)
    projects = [shutil.copytree(base, scratch / f"variant-{n}") for n in range(VARIANTS)]
    for project in projects:
        change(project)
    slots = max(1, min(8, os.cpu_count() or 1))
    with system(home, slots=slots) as here:

        def work() -> None:
            handles = [here.submit(p, lane="batch") for p in projects]
            assert all(handle.result(1_800).verdict == "passed" for handle in handles)

        started = time.perf_counter()
        await asyncio.to_thread(work)
        took = time.perf_counter() - started
    print(f"\n{VARIANTS} variants, {slots} slots: {took:.0f} s, {took / VARIANTS:.1f} s each")
    floor = local.checks / (os.cpu_count() or 1)
    print(
        f"  the checks of one, which always run, keep the processors busy for {floor:.1f} s: "
        f"no ratio is under {floor / local.clean:.2f} here"
    )
    return [goal("50 variants, over 50 local runs", took / (VARIANTS * local.clean), 0.25)]
