"""Detects faults of the worker's own files; a worker with such a fault takes no jobs."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from revalid.jobs.settings import Settings

OURS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")
}
FREE_BYTES = 64 * 2**20
FREE_INODES = 1_000
DESCRIPTORS = 64
"""Descriptors that a job may need in addition to those that a process has open."""
PROBE_BYTES = 65_536


def own_fault(error: BaseException | None) -> str | None:
    """Return what failed if an error or one of its causes is a fault of the worker's own files."""
    for each in _chain(error):
        if isinstance(each, MemoryError):
            return "no memory"
        if isinstance(each, OSError) and each.errno in OURS:
            return str(each)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def check_files(settings: Settings) -> str | None:
    """Return why jobs would fail for lack of disk or descriptors; None if they would not.

    It writes a file where jobs write and where results wait, waits until the disk has it, and opens
    as many descriptors as a job may need.
    """
    scratch = settings.scratch or Path(tempfile.gettempdir())
    for place in dict.fromkeys((scratch, settings.home)):
        try:
            _write(place)
        except OSError as error:
            return f"{place}: {error.strerror or error}"
        found = os.statvfs(place)
        if found.f_bavail * found.f_frsize < FREE_BYTES:
            return f"{place}: less than {FREE_BYTES >> 20} MiB free"
        if found.f_files and found.f_favail < FREE_INODES:
            return f"{place}: less than {FREE_INODES} inodes free"
    try:
        with ExitStack() as stack:
            for _ in range(DESCRIPTORS):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return f"{DESCRIPTORS} descriptors cannot be opened: {error.strerror}"
    return None


def _write(place: Path) -> None:
    with tempfile.TemporaryFile(dir=place, prefix="revalid-probe-") as file:
        file.write(os.urandom(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
