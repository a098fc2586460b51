"""Reads the start of a file of an untrusted project."""

import os
import stat
from pathlib import Path


def read_start(path: Path, most: int) -> bytes | None:
    """Return the start of a file; None if it is no regular file, or cannot be read.

    It follows no link and waits for no pipe.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    except OSError:
        return None
    finally:
        os.close(descriptor)
