"""``python -m benchmarks.queue``: submits ten thousand jobs, and measures Redis."""

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.goals import Row, goal
from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.settings import load_settings
from revalid.producer.client import Client
from revalid.producer.local.workers import attached
from revalid.producer.submission import prepare

JOBS = 10_000


def measure(jobs: int = JOBS) -> list[Row]:
    """Return all rows. The jobs are made before the clock starts; only their submit counts."""
    steps = [{"op": "exec", "command": "true"}]
    with tempfile.TemporaryDirectory(prefix="revalid-bench-") as directory, ExitStack() as stack:
        settings = load_settings({}, env_file=None, home=Path(directory) / "home")
        here = stack.enter_context(attached(settings))
        client = stack.enter_context(Client(here))
        made = [
            stack.enter_context(prepare(here, None, steps=steps, nonce=str(number)))
            for number in range(jobs)
        ]
        empty = memory(client)
        started = time.perf_counter()
        handles = client.send_all(made)
        rate = jobs / (time.perf_counter() - started)
        assert all(handle.outcome is SubmitOutcome.NEW for handle in handles)
        full = memory(client)
    print("\nqueue")
    return [
        goal(f"{jobs} no-op jobs submitted", rate, 2_500, "/s", at_least=True),
        goal(f"{jobs} queued jobs in Redis", (full - empty) / 1e6, 60, " MB"),
    ]


def memory(client: Client) -> int:
    """Return the bytes that Redis uses."""
    info: Any = client._redis.info("memory")
    return int(info["used_memory"])


def main() -> int:
    """Print the rows; return 0 even if a goal is missed."""
    measure()
    return 0


if __name__ == "__main__":
    sys.exit(main())
