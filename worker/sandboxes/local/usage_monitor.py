"""What a local command uses: its memory, its processes, and what it wrote to the disk."""

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

_WIDE_EVERY = 4
_LOOK_EVERY = 240
_CLOCK_S = 1.0


class UsageMonitor:
    """Measures one command against its limits; everything here blocks, for milliseconds.

    Args:
        directory: The sandbox's own; only what is written below it is counted.
        members: Its processes; asked for all of them when true, else for those found cheaply.
        own: How many of them are the sandbox's.
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
        self._started = time.time() - _CLOCK_S  # files' times are of a coarser clock
        self._free = _free(directory)

    def over(self) -> LimitName | None:
        """The limit that the command is over now."""
        wide = self._rounds % _WIDE_EVERY == 0
        looks = self._rounds % _LOOK_EVERY == _LOOK_EVERY - _WIDE_EVERY
        self._rounds += 1
        members = list(self._members(wide))
        if len(members) - self._own > self._limits.processes:
            return LimitName.PROCESSES
        # Resident pages count what is shared once for each process: above, they are looked at.
        if all(_memory(members, exact=e) > self._limits.memory_bytes for e in (False, True)):
            return LimitName.MEMORY
        return LimitName.DISK if wide and self.wrote_too_much(looks=looks) else None

    def wrote_too_much(self, *, looks: bool = False) -> bool:
        """Whether files that changed since the start hold more than the limit.

        Args:
            looks: Also where free space did not fall by as much: others may free some meanwhile.
        """
        free = _free(self._directory)
        self._free = max(self._free, free)
        if self._free - free < self._limits.disk_bytes and not looks:
            return False
        written = self._written()
        # Others wrote as well: wait until as much again is gone.
        self._free = free + written
        return written >= self._limits.disk_bytes

    def filled_a_file(self) -> bool:
        """Whether a file that changed since the start is as large as a file may be."""
        return any(size >= self._limits.disk_bytes - 4_096 for size, _ in self._changed())

    def _written(self) -> int:
        return sum(blocks for _, blocks in self._changed())

    def _changed(self) -> Iterable[tuple[int, int]]:
        for _, found in walk(self._directory):
            if found.st_ctime >= self._started and not stat.S_ISDIR(found.st_mode):
                yield found.st_size, found.st_blocks * 512


def _free(directory: Path) -> int:
    try:
        found = os.statvfs(directory)
    except OSError:  # without bubblewrap, a command can remove it
        return 0
    return found.f_bavail * found.f_frsize


def _memory(members: Iterable[psutil.Process], *, exact: bool) -> int:
    total = 0
    for member in members:
        with suppress(psutil.Error):
            held = member.memory_info().rss
            if exact:
                with suppress(psutil.AccessDenied):
                    held = getattr(member.memory_full_info(), "pss", held)
            total += held
    return total
