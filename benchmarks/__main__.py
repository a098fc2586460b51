"""``make bench``: jobs against the bare SDK, ``docker run`` and a local run, and each operation.

Needs a Dagger engine. ``docker run`` is left out where no Docker answers; ``BENCH_DOCKER`` holds
further options for it.
"""

import asyncio
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.measure import Times, Work, in_turn
from jobs.errors import EngineUnavailable
from jobs.job import DEFAULT_IMAGE
from jobs.settings import VERSION, load_settings
from producer.client import Client
from producer.embedded import OwnWorker, attached
from producer.submission import prepare
from worker.dagger_sandbox import DaggerSandbox
from worker.engine import Engine
from worker.local_sandbox import LocalSandbox
from worker.sandbox import Sandbox

RUNS = 15
EXAMPLE = Path(__file__).parents[1] / "examples" / "trpc-app"
RESULTS = Path(__file__).with_name("results.json")
OVERHEAD_GOAL_MS = 50


def goal(name: str, ratio: float, bound: float, unit: str = "") -> dict[str, object]:
    """Print one goal and return its row."""
    met = ratio < bound
    print(f"  {'met' if met else 'MISSED':6} {name}: {ratio:.2f}{unit} (under {bound:g}{unit})")
    return {"name": name, "ratio": round(ratio, 3), "goal": bound, "met": met}


def show(title: str, times: dict[str, Times]) -> None:
    """Print a table."""
    print(f"\n{title}")
    for name, measured in times.items():
        print(f"  {name:34} {measured}")


def docker_run() -> Work | None:
    """One ``docker run`` of a no-op, where a Docker with the image answers."""
    command = ["docker", "run", "--rm", *shlex.split(os.environ.get("BENCH_DOCKER", ""))]
    command += [DEFAULT_IMAGE, "sh", "-c", "true"]
    if not shutil.which("docker"):
        return None
    if subprocess.run(command, capture_output=True, check=False, timeout=60).returncode:
        return None

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        assert await process.wait() == 0

    return run


async def no_op(client: Client, worker: str, engine: Engine) -> list[dict[str, object]]:
    """A job of one command that does nothing."""
    steps = [{"op": "exec", "command": "true"}]
    pinned = await engine.pin(DEFAULT_IMAGE)

    def job(kind: str) -> Work:
        def run() -> None:
            with prepare(client.settings, None, steps=steps, sandbox=kind, fresh=True) as made:
                handle = client.send(made, worker=worker)
            assert handle.result(60).verdict == "passed"

        return lambda: asyncio.to_thread(run)

    async def bare_sdk() -> None:
        dag = await engine.client()
        container = dag.container().from_(pinned).with_workdir("/workspace")
        await container.with_exec(["sh", "-c", "true", uuid.uuid4().hex]).stdout()

    async def bare_local() -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", "true")
        assert await process.wait() == 0

    contenders: dict[str, Work] = {
        "job, dagger": job("dagger"),
        "bare SDK, same step": bare_sdk,
        "job, local": job("local"),
        "sh -c, no sandbox": bare_local,
    }
    if docker := docker_run():
        contenders["docker run"] = docker
    else:
        print("\ndocker run: left out, no Docker with the image answers")
    times = await in_turn(contenders, RUNS)
    show("no-op job, one at a time", times)
    added = (times["job, dagger"].p50 - times["bare SDK, same step"].p50) * 1000
    rows = [goal("queue, worker and sandbox add, p50", added, OVERHEAD_GOAL_MS, " ms")]
    print(f"  job over bare SDK: {times['job, dagger'].p50 / times['bare SDK, same step'].p50:.2f}")
    if docker:
        print(f"  job over docker run: {times['job, dagger'].p50 / times['docker run'].p50:.2f}")
    return rows


async def operations(engine: Engine) -> None:
    """Each operation, Dagger over local."""
    files = {f"d{n % 10}/f{n}.txt": f"{n}\n" * 100 for n in range(200)}
    works: dict[str, Callable[[Sandbox], Awaitable[object]]] = {
        "write": lambda s: s.write_file("a/one.txt", uuid.uuid4().hex),
        "200 files": lambda s: s.write_files({**files, "nonce": uuid.uuid4().hex}),
        "exec": lambda s: s.exec("true"),
        "read": lambda s: s.read_file("a/one.txt"),
    }
    async with AsyncExitStack() as stack:
        opened: dict[str, Sandbox] = {
            "dagger": await DaggerSandbox.open(engine, DEFAULT_IMAGE),
            "local": LocalSandbox(passthrough={}),
        }
        contenders: dict[str, Work] = {}
        for kind, sandbox in opened.items():
            stack.push_async_callback(sandbox.close)
            for name, work in works.items():
                contenders[f"{name}, {kind}"] = lambda work=work, s=sandbox: work(s)  # type: ignore[misc]
        times = await in_turn(contenders, RUNS)
    show("operations", times)
    for name in works:
        ratio = times[f"{name}, dagger"].p50 / times[f"{name}, local"].p50
        print(f"  {name}: dagger over local {ratio:.1f}")


async def example(client: Client, worker: str, project: Path) -> list[dict[str, object]]:
    """The tRPC example: no install in the engine's cache, then one with another source."""

    async def timed(kind: str, number: int) -> float:
        (project / "server" / "src" / "run.ts").write_text(f"export const run = {number};\n")
        with prepare(client.settings, project, sandbox=kind, fresh=True) as made:
            handle = client.send(made, worker=worker)
        result = await asyncio.to_thread(handle.result, 600)
        assert result.verdict == "passed", result
        assert result.started_at is not None
        return (result.finished_at - result.started_at).total_seconds()

    found: dict[str, list[float]] = {"cold, dagger": [], "warm, dagger": [], "local": []}
    for number in range(3):
        # Another version makes another lockfile, so that nothing of the install is in the cache.
        for name in ("package.json", "package-lock.json"):
            file = project / name
            document = json.loads(file.read_text())
            document["version"] = f"0.0.{uuid.uuid4().int % 10**9}"
            if "packages" in document:
                document["packages"][""]["version"] = document["version"]
            file.write_text(json.dumps(document))
        found["cold, dagger"].append(await timed("dagger", 3 * number))
        found["local"].append(await timed("local", 3 * number + 1))
        found["warm, dagger"].append(await timed("dagger", 3 * number + 2))
    times = {name: Times(tuple(runs)) for name, runs in found.items()}
    show("tRPC example: install, build, type checks, tests", times)
    local = times["local"].p50
    return [
        goal("tRPC example cold, dagger over local", times["cold, dagger"].p50 / local, 2),
        goal("tRPC example warm, dagger over local", times["warm, dagger"].p50 / local, 1),
    ]


@asynccontextmanager
async def system(home: Path) -> AsyncIterator[tuple[Client, str, Engine]]:
    """A broker, a worker and an engine connection of the benchmark's own."""
    settings = load_settings({}, env_file=None, home=home, concurrency=1)
    engine = Engine(timeout_s=30)
    try:
        await engine.client()
        with attached(settings) as here, Client(here) as client:
            worker = OwnWorker(here)
            try:
                await asyncio.to_thread(worker.wait, client)
                yield client, worker.name, engine
            finally:
                worker.stop()
    finally:
        await engine.close()


async def main() -> int:
    """Run everything; 0 also where a goal is missed, for the figures are the product."""
    print(f"revalid {VERSION}, Python {platform.python_version()}, {os.cpu_count()} cores")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="revalid-bench-") as scratch:
        project = Path(scratch) / "project"
        shutil.copytree(EXAMPLE, project)
        try:
            async with system(Path(scratch) / "home") as (client, worker, engine):
                rows += await no_op(client, worker, engine)
                await operations(engine)
                rows += await example(client, worker, project)
        except EngineUnavailable as error:
            sys.stderr.write(f"error: {error}\n")
            return 3
    RESULTS.write_text(json.dumps({"version": VERSION, "goals": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
