"""Scratch directories: locked while their process lives, removed after it died."""

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
_YOUNG_S = 60.0  # a new directory may not be locked yet

log = logging.getLogger("revalid.worker")


@contextmanager
def scratch_directory(root: Path | None) -> Iterator[Path]:
    """Create a locked private directory below ``root``; remove it at the end.

    Args:
        root: The system's directory for temporary files if None.
    """
    with temporary_directory(PREFIX, root) as directory:
        lock = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory
        finally:
            os.close(lock)


def sweep(root: Path | None) -> None:
    """Remove the scratch directories of killed processes."""
    for directory in Path(root or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - directory.stat().st_mtime < _YOUNG_S:
                continue
            lock = os.open(directory, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                log.warning("%s: removed; the process that used it was killed", directory)
                remove_tree(directory)
            finally:
                os.close(lock)
