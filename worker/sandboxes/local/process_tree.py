"""Finds and ends the processes of a local sandbox."""

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

    A process belongs to the tree if it has the marker in its environment, is in the shell's session
    or descends from the shell. In a jail every process descends from the shell: an orphan gets the
    jail's first process as its parent.

    Args:
        marker: The value of :data:`MARKER` in their environment.
        jailed: Whether the shell is the jail's own process, which ends with everything it started.
    """

    def __init__(self, marker: str, *, jailed: bool = False) -> None:
        self.marker, self.jailed = marker, jailed
        self.shell: int | None = None
        self._descendants: set[psutil.Process] = set()

    def members(self, everything: bool) -> set[psutil.Process]:
        """Return the living processes: all, or only the shell's session, which is cheap."""
        if everything:
            self._update_descendants()
            return set(self._descendants) if self.jailed else self._survivors()[0]
        members = set()
        for pid in psutil.pids():
            with suppress(psutil.Error, OSError):
                if os.getsid(pid) == self.shell:
                    members.add(psutil.Process(pid))
        return members

    async def end(self, grace_s: float = 0.0) -> bool:
        """End every process: send SIGTERM, and SIGKILL after ``grace_s`` seconds.

        Returns:
            Whether SIGKILL was needed.

        Raises:
            SandboxLost: Some still lived :data:`KILL_BOUND_S` seconds after the first SIGKILL.
        """
        if grace_s > 0:
            await asyncio.to_thread(self._update_descendants)
        terminated: set[psutil.Process] = set()
        kill_time = time.monotonic() + grace_s
        uncertain_rounds = 0
        killed = False
        while True:
            if time.monotonic() >= kill_time:
                killed = True
                self._kill_group()
            survivors, uncertain = await asyncio.to_thread(self._survivors)
            uncertain_rounds += uncertain
            if not survivors and (not uncertain or uncertain_rounds > 5):
                return killed
            now = time.monotonic()
            if now > kill_time + KILL_BOUND_S:
                raise SandboxLost(
                    f"exec: processes {sorted(p.pid for p in survivors)} outlived SIGKILL; "
                    "end them by hand, or restart this worker"
                )
            for process in survivors if now >= kill_time else survivors - terminated:
                with suppress(psutil.Error):
                    if now >= kill_time:
                        process.kill()
                    elif not (self.jailed and process.pid == self.shell):
                        process.terminate()
            terminated |= survivors
            await asyncio.sleep(_POLL_S)

    def _kill_group(self) -> None:
        """Kill the shell's process group in one call, which no fork can outrun."""
        if self.shell is not None:
            with suppress(OSError):
                if os.getsid(self.shell) == self.shell:  # the id may belong to another process now
                    os.killpg(self.shell, signal.SIGKILL)

    def _update_descendants(self) -> None:
        self._descendants = {process for process in self._descendants if _is_alive(process)}
        if self.shell is not None:
            with suppress(psutil.Error):
                shell = psutil.Process(self.shell)
                self._descendants |= {shell, *shell.children(recursive=True)}

    def _survivors(self) -> tuple[set[psutil.Process], bool]:
        """Return the living processes, and whether another may be hidden during ``execve``."""
        survivors = {process for process in self._descendants if _is_alive(process)}
        uncertain = False
        for pid in psutil.pids():
            try:
                process = psutil.Process(pid)
                if self.shell is not None and os.getsid(pid) == self.shell:
                    is_member = _is_alive(process)
                else:
                    environ = process.environ()
                    is_member = environ.get(MARKER) == self.marker
                    # During ``execve``, a process has an empty environment for a moment.
                    uncertain |= not environ and _is_new(process)
            except (psutil.Error, OSError):
                continue
            if is_member:
                survivors.add(process)
        return survivors, uncertain


def _is_new(process: psutil.Process) -> bool:
    # A kernel thread has no program. Creation times are accurate to about a second.
    return bool(process.exe()) and time.time() - process.create_time() < 2 and _is_alive(process)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
