"""The processes of a local sandbox: which they are, and how every one of them is ended."""

import asyncio
import os
import signal
import time
from contextlib import suppress

import psutil

from revalid.jobs.errors import SandboxLost

MARKER = "_SANDBOX_OF_REVALID"
KILL_BOUND_S = 10.0
_POLL_S = 0.02


class ProcessTree:
    """The processes of one command, or of a whole sandbox.

    Found are those that carry the marker, wherever they moved, and those of the shell's session
    and descent. In a jail that is all there are: what loses its parent there stays in the descent.

    Args:
        marker: The value of :data:`MARKER` in their environment.
        jailed: The shell is the jail's own process, and ends with what it started.
    """

    def __init__(self, marker: str, *, jailed: bool = False) -> None:
        self.marker, self.jailed = marker, jailed
        self.shell: int | None = None
        self._descent: set[psutil.Process] = set()

    def members(self, wide: bool) -> set[psutil.Process]:
        """Living processes: all of them, or those of the shell's session, which costs little."""
        if wide:
            self._trace()
            return set(self._descent) if self.jailed else self._survivors()[0]
        found = set()
        for pid in psutil.pids():
            with suppress(psutil.Error, OSError):
                if os.getsid(pid) == self.shell:
                    found.add(psutil.Process(pid))
        return found

    async def end(self, grace_s: float = 0.0) -> None:
        """End every one: SIGTERM for ``grace_s`` seconds, then SIGKILL.

        Raises:
            SandboxLost: Some were still there :data:`KILL_BOUND_S` seconds after the first SIGKILL.
        """
        if grace_s > 0:
            await asyncio.to_thread(self._trace)
        told: set[psutil.Process] = set()
        forced = time.monotonic() + grace_s
        doubts = 0
        while True:
            if time.monotonic() >= forced:
                self._kill_group()
            found, doubtful = await asyncio.to_thread(self._survivors)
            doubts += doubtful
            if not found and (not doubtful or doubts > 5):
                return
            now = time.monotonic()
            if now > forced + KILL_BOUND_S:
                raise SandboxLost(
                    f"exec: processes {sorted(each.pid for each in found)} outlived SIGKILL; "
                    "end them by hand, or restart this worker"
                )
            for each in found if now >= forced else found - told:
                with suppress(psutil.Error):
                    if now >= forced:
                        each.kill()
                    elif not (self.jailed and each.pid == self.shell):
                        each.terminate()
            told |= found
            await asyncio.sleep(_POLL_S)

    def _kill_group(self) -> None:
        """All of the shell's group in one call, which no fork outruns."""
        if self.shell is not None:
            with suppress(OSError):
                if os.getsid(self.shell) == self.shell:  # not another's, once it was reaped
                    os.killpg(self.shell, signal.SIGKILL)

    def _trace(self) -> None:
        self._descent = {each for each in self._descent if _alive(each)}
        if self.shell is not None:
            with suppress(psutil.Error):
                shell = psutil.Process(self.shell)
                self._descent |= {shell, *shell.children(recursive=True)}

    def _survivors(self) -> tuple[set[psutil.Process], bool]:
        """The living processes, and whether one more may be hidden in mid-``execve``."""
        found = {each for each in self._descent if _alive(each)}
        doubtful = False
        for pid in psutil.pids():
            try:
                process = psutil.Process(pid)
                if self.shell is not None and os.getsid(pid) == self.shell:
                    ours = _alive(process)
                else:
                    environ = process.environ()
                    ours = environ.get(MARKER) == self.marker
                    # A process shows no environment for a moment while it executes its program.
                    doubtful |= not environ and _newborn(process)
            except (psutil.Error, OSError):
                continue
            if ours:
                found.add(process)
        return found, doubtful


def _newborn(process: psutil.Process) -> bool:
    # A kernel thread has no program; creation times are whole seconds off at worst.
    return bool(process.exe()) and time.time() - process.create_time() < 2 and _alive(process)


def _alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
