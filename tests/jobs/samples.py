"""Jobs that these tests share."""

import time
from collections.abc import Callable
from typing import Any

from jobs.job import Job, parse_job

DIGEST = "ab" * 32
SOURCE = {"kind": "tarball", "digest": DIGEST, "size_bytes": 10}


def make_job(**fields: Any) -> Job:
    """A valid job; ``fields`` replace its own."""
    return parse_job({"source": SOURCE, **fields})


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread or process does; pytest's own limit ends a wait in vain."""
    while not condition():
        time.sleep(0.002)
