"""Reads the reports of tests that a local command wrote."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from revalid.worker.file_trees import walk
from revalid.worker.sandboxes.local import beneath
from revalid.worker.sandboxes.protocol import (
    MAX_REPORTS,
    OWN_REPORT,
    REPORT_BYTES,
    REPORT_NAMES,
    UNREPORTED,
    WrittenReport,
)


def file_time(directory: Path) -> int:
    """Return the present time, in nanoseconds, by the clock that stamps files."""
    os.utime(directory)
    return directory.stat().st_mtime_ns


def written_reports(workspace: Path, temporary: Path, started_ns: int) -> tuple[WrittenReport, ...]:
    """Return the reports that were written after a time, and their content, within the bounds.

    Args:
        temporary: The sandbox's directory for temporary files.
        started_ns: What :func:`file_time` returned.
    """
    left = REPORT_BYTES
    found: list[WrittenReport] = []
    for root, relative, name in _candidates(workspace, temporary):
        with (
            suppress(OSError, beneath.LinkOutside),
            beneath.locate(root, f"/{relative}", follow=False) as location,
            beneath.opened_file(location) as (descriptor, status),
        ):
            # A file of the project may have a time of change in the future; its ctime is ours.
            written_ns = min(status.st_mtime_ns, status.st_ctime_ns)
            if written_ns <= started_ns or status.st_size > REPORT_BYTES // 2:
                continue
            if len(found) >= MAX_REPORTS or status.st_size > left:
                break
            left -= status.st_size
            with open(descriptor, "rb", closefd=False) as file:
                found.append(WrittenReport(name, file.read(status.st_size)))
    return tuple(found)


def _candidates(workspace: Path, temporary: Path) -> Iterator[tuple[Path, str, str]]:
    own = os.path.basename(OWN_REPORT)  # noqa: PTH119 - a path of the sandbox
    with suppress(OSError):
        for name in sorted(os.listdir(temporary)):  # noqa: PTH208 - names alone
            if name.startswith(f"{own}."):
                yield temporary, name, OWN_REPORT + name.removeprefix(own)
    for path, _ in walk(workspace, skip=UNREPORTED):
        if REPORT_NAMES.fullmatch(path):
            yield workspace, path, path
