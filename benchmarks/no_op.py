"""Measures jobs that do nothing against the bare SDK and ``docker run``."""

import asyncio
import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import dagger

from benchmarks.goals import Row, goal
from benchmarks.measure import Work, in_turn, show
from benchmarks.system import System, system
from revalid.jobs.job import DEFAULT_IMAGE
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.protocol import Sandbox

RUNS = 25
WIDTH = 8
JOBS = 48
ROUNDS = 5
_STEPS = [{"op": "exec", "command": "true"}]


def docker_run() -> Work | None:
    """Run a no-op by ``docker run``, if a Docker with the image answers.

    ``BENCH_DOCKER`` holds further options for it.
    """
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


async def bare_sdk(engine: Engine, *, whole: bool = True) -> Work:
    """Run the same step by the SDK alone: a fresh container, its exit code and both outputs.

    Args:
        whole: Else only the standard output, which is one query instead of three.
    """
    pinned = await engine.pin(DEFAULT_IMAGE)
    dag = await engine.client()

    async def run() -> None:
        container: dagger.Container = dag.container().from_(pinned).with_workdir("/workspace")
        ran = container.with_exec(["sh", "-c", "true", uuid.uuid4().hex])
        await ran.stdout()
        if whole:
            await ran.stderr()
            assert await ran.exit_code() == 0

    return run


async def one_at_a_time(home: Path, engine: Engine) -> list[Row]:
    """Run a job through queue, worker and container."""

    async def bare_local() -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", "true")
        assert await process.wait() == 0

    with system(home, slots=1, sandbox="auto") as here:
        contenders: dict[str, Work] = {
            "job, dagger": lambda: here.arun(steps=_STEPS, sandbox="dagger"),
            "bare SDK, same step": await bare_sdk(engine),
            "bare SDK, standard output alone": await bare_sdk(engine, whole=False),
            "job, local": lambda: here.arun(steps=_STEPS, sandbox="local"),
            "sh -c, no sandbox": bare_local,
        }
        if docker := docker_run():
            contenders["docker run"] = docker
        times = await in_turn(contenders, RUNS)
    show("no-op job, one at a time", times)
    job = times["job, dagger"].p50
    rows = [goal("no-op job over the bare SDK", job / times["bare SDK, same step"].p50, 1.3)]
    alone = times["bare SDK, standard output alone"].p50
    print(f"  job over the bare SDK's standard output alone: {job / alone:.2f}")
    if docker:
        print(f"  job over docker run: {job / times['docker run'].p50:.2f}")
    return rows


async def wide(home: Path, engine: Engine) -> list[Row]:
    """Run many jobs, as many at a time as the worker has slots."""
    bare, docker = await bare_sdk(engine), docker_run()
    with system(home, slots=WIDTH) as here:
        contenders: dict[str, Work] = {
            "jobs": lambda: _many_jobs(here),
            "bare SDK": lambda: _many(bare),
        }
        if docker:
            contenders["docker run loop"] = lambda: _loop(docker)
        times = await in_turn(contenders, ROUNDS)
    rates = {name: JOBS / measured.p50 for name, measured in times.items()}
    print(f"\nno-op jobs, {WIDTH} wide, {JOBS} a round, {ROUNDS} rounds in turn")
    for name, measured in times.items():
        slow, fast = JOBS / max(measured.runs), JOBS / min(measured.runs)
        print(f"  {name:34} {rates[name]:6.1f}/s  ({slow:.1f} to {fast:.1f})")
    rows = [
        goal(
            "no-op jobs/s over the bare SDK's",
            rates["jobs"] / rates["bare SDK"],
            0.9,
            at_least=True,
        )
    ]
    if docker:
        ratio = rates["jobs"] / rates["docker run loop"]
        rows.append(goal("no-op jobs/s over a docker run loop's", ratio, 3, at_least=True))
    else:
        print("  docker run: left out, no Docker with the image answers")
    return rows


async def _many_jobs(here: System) -> None:
    def work() -> None:
        handles = [here.submit(steps=_STEPS) for _ in range(JOBS)]
        assert all(handle.result(120).verdict == "passed" for handle in handles)

    await asyncio.to_thread(work)


async def _many(work: Work) -> None:
    room = asyncio.Semaphore(WIDTH)

    async def one() -> None:
        async with room:
            await work()

    await asyncio.gather(*(one() for _ in range(JOBS)))


async def _loop(work: Work) -> None:
    for _ in range(JOBS):
        await work()


async def operations(engine: Engine) -> None:
    """Measure each operation, Dagger over local; there is no goal."""
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
