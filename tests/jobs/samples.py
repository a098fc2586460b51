"""Helpers that these tests share."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from revalid.jobs.job import Job, parse_job

DIGEST = "ab" * 32
SOURCE = {"kind": "tarball", "digest": DIGEST, "size_bytes": 10}


def make_job(**fields: Any) -> Job:
    """A valid job; ``fields`` replace its own."""
    return parse_job({"source": SOURCE, **fields})


def until(condition: Callable[[], object]) -> None:
    """Wait for another thread or process; pytest's own limit ends a wait that fails."""
    while not condition():
        time.sleep(0.002)


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory of an ordinary user, with that user's rights: root could read everything."""
    with tempfile.TemporaryDirectory() as directory:
        was = os.geteuid()
        if was == 0:
            os.chown(directory, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(directory)
        finally:
            if was == 0:
                os.seteuid(0)
