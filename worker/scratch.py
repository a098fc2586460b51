"""Scratch directories: each is locked while its process lives, and swept once that is dead."""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from revalid.worker.file_trees import remove_tree, temporary_directory

PREFIX = "revalid-job-"
_YOUNG_S = 60.0  # made, and not locked yet

log = logging.getLogger("revalid.worker")


@contextmanager
def scratch_directory(root: Path | None) -> Iterator[Path]:
    """A private directory below ``root``, or the system's temporary one; gone afterwards."""
    with temporary_directory(PREFIX, root) as made:
        lock = os.open(made, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield made
        finally:
            os.close(lock)


def sweep(root: Path | None) -> None:
    """Remove what killed processes have left."""
    for directory in Path(root or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - directory.stat().st_mtime < _YOUNG_S:
                continue
            lock = os.open(directory, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                log.warning("%s: left by a process that was killed, removed", directory)
                remove_tree(directory)
            finally:
                os.close(lock)
