"""Measures a local command's memory, processes and disk use."""

import os
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from revalid.jobs.job import LimitName
from revalid.worker.file_trees import walk
from revalid.worker.sandboxes.limits import CommandLimits

_FULL_ROUND = 4
_SCAN_ROUND = 240
_CLOCK_S = 1.0


class UsageMonitor:
    """Compares one command's use with its limits; every method blocks.

    That takes milliseconds, but looking at the files takes as long as there are files.

    Attributes:
        stopped: Set by another thread: looking at the files ends now.

    Args:
        directory: The sandbox's directory; only files below it are counted.
        members: Returns the command's processes: all if called with true, else those that are
            cheap to find.
        own: How many of these processes belong to the sandbox itself.
    """

    def __init__(
        self,
        directory: Path,
        limits: CommandLimits,
        members: Callable[[bool], Iterable[psutil.Process]],
        own: int,
    ) -> None:
        self._directory, self._limits = directory, limits
        self._members, self._own = members, own
        self._rounds = 0
        self._started = time.time() - _CLOCK_S  # file times have a coarser clock
        self._most_free = _free_bytes(directory)
        self.stopped = False

    def over(self) -> LimitName | None:
        """Return the limit that the command exceeds now; None if it exceeds none."""
        everything = self._rounds % _FULL_ROUND == 0
        scan = self._rounds % _SCAN_ROUND == _SCAN_ROUND - _FULL_ROUND
        self._rounds += 1
        members = list(self._members(everything))
        if len(members) - self._own > self._limits.processes:
            return LimitName.PROCESSES
        if everything and sum(map(_threads, members)) > self._limits.threads:
            return LimitName.PROCESSES
        # Resident sizes count shared pages repeatedly: above the limit, the exact sum decides.
        limit = self._limits.memory_bytes
        if all(_memory(members, exact=exact) > limit for exact in (False, True)):
            return LimitName.MEMORY
        return LimitName.DISK if everything and self.wrote_too_much(scan=scan) else None

    def wrote_too_much(self, *, scan: bool = False) -> bool:
        """Return whether files that changed since the start hold more than the limit.

        Args:
            scan: Look at the files even if free space did not fall by the limit: other processes
                may have freed space.
        """
        free = _free_bytes(self._directory)
        self._most_free = max(self._most_free, free)
        if self._most_free - free < self._limits.disk_bytes and not scan:
            return False
        written = self._written()
        # Other processes wrote too. Look again only when free space falls by the limit once more.
        self._most_free = free + written
        return written >= self._limits.disk_bytes

    def filled_a_file(self) -> bool:
        """Return whether a file that changed since the start reached the size limit of a file."""
        return any(size >= self._limits.disk_bytes - 4_096 for size, _ in self._changed())

    def _written(self) -> int:
        return sum(blocks for _, blocks in self._changed())

    def _changed(self) -> Iterable[tuple[int, int]]:
        for _, status in walk(self._directory):
            if self.stopped:
                return
            if status.st_ctime >= self._started and not stat.S_ISDIR(status.st_mode):
                yield status.st_size, status.st_blocks * 512


def _free_bytes(directory: Path) -> int:
    try:
        file_system = os.statvfs(directory)
    except OSError:  # without bubblewrap, a command can remove the directory
        return 0
    return file_system.f_bavail * file_system.f_frsize


def _threads(member: psutil.Process) -> int:
    with suppress(psutil.Error):
        return member.num_threads()
    return 0


def _memory(members: Iterable[psutil.Process], *, exact: bool) -> int:
    total = 0
    for member in members:
        with suppress(psutil.Error):
            used = member.memory_info().rss
            if exact:
                with suppress(psutil.AccessDenied):
                    used = getattr(member.memory_full_info(), "pss", used)
            total += used
    return total
