"""The limits of commands: their values, their enforcement, and their text in results."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from revalid.jobs.errors import PolicyRefused
from revalid.jobs.job import LimitName, Limits
from revalid.jobs.result import Enforcement

_LEAST_THREADS = 1_024


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """The resources that one command may use, besides time and output.

    Attributes:
        cpu_s: Seconds of processor time of one process; None sets no limit.
        memory_bytes: Bytes of memory of all its processes together.
        processes: Number of processes at one time.
        disk_bytes: Bytes that it may write in total, and to one file.
    """

    cpu_s: float | None = None
    memory_bytes: int = 8 * 2**30
    processes: int = 4_096
    disk_bytes: int = 20 * 2**30

    @property
    def threads(self) -> int:
        """Number of threads at one time: each takes a process id, as a process does."""
        return max(_LEAST_THREADS, 4 * self.processes)

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """Return the limits of a job's commands."""
        return cls(limits.cpu_s, limits.memory_bytes, limits.processes, limits.disk_bytes)


DEFAULT_LIMITS = CommandLimits()
LIVE_BYTES = 262_144
"""Bytes of output that a job sends while it runs, and that a command on Dagger sends."""


def enforcement(
    limits: Limits, kind: str, enforced: Collection[LimitName]
) -> dict[LimitName, Enforcement]:
    """Return, for each limit that a job sets, whether the sandbox enforces it.

    Raises:
        PolicyRefused: The sandbox does not enforce a limit that the job requires.
    """
    if missing := [name for name in LimitName if name in limits.required and name not in enforced]:
        raise PolicyRefused(
            f"limit {', '.join(missing)}: required, but the {kind} sandbox of this worker does not "
            "enforce it; install bubblewrap there, use --sandbox dagger, or do not require it"
        )
    return {
        name: "enforced" if name in enforced else "not_enforced"
        for name in LimitName
        if name is not LimitName.CPU or limits.cpu_s is not None
    }


def limit_text(name: LimitName, limits: CommandLimits) -> str:
    """Return the value of a limit with its unit; not for time and output."""
    match name:
        case LimitName.MEMORY:
            return _size(limits.memory_bytes)
        case LimitName.DISK:
            return _size(limits.disk_bytes)
        case LimitName.PROCESSES:
            return str(limits.processes)
        case _:
            return f"{limits.cpu_s or 0:g} s"


def _size(count: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count} bytes"
