"""The limits of commands: what a sandbox applies, and what it says of them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from revalid.jobs.errors import PolicyRefused
from revalid.jobs.job import LimitName, Limits
from revalid.jobs.result import Enforcement


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """What one command may use besides its time and its output.

    Attributes:
        cpu_s: Seconds of processor time of one process; None sets no limit.
        memory_bytes: Bytes of memory that all its processes hold together.
        processes: Processes at a time.
        disk_bytes: Bytes that it writes, and bytes of one file.
    """

    cpu_s: float | None = None
    memory_bytes: int = 8 * 2**30
    processes: int = 4_096
    disk_bytes: int = 20 * 2**30

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """Those of a job."""
        return cls(limits.cpu_s, limits.memory_bytes, limits.processes, limits.disk_bytes)


DEFAULT_LIMITS = CommandLimits()


def enforcement(
    limits: Limits, kind: str, enforced: Collection[LimitName]
) -> dict[LimitName, Enforcement]:
    """What a sandbox that enforces ``enforced`` does for each limit that a job sets.

    Raises:
        PolicyRefused: It does not enforce one that the job requires.
    """
    if weak := [name for name in LimitName if name in limits.required and name not in enforced]:
        raise PolicyRefused(
            f"limit {', '.join(weak)}: required, but the {kind} sandbox of this worker does not "
            "enforce it; install bubblewrap there, use --sandbox dagger, or do not require it"
        )
    return {
        name: "enforced" if name in enforced else "not_enforced"
        for name in LimitName
        if name is not LimitName.CPU or limits.cpu_s is not None
    }


def in_words(name: LimitName, limits: CommandLimits) -> str:
    """The value of a limit besides time and output."""
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
