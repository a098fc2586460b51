"""Cleans up the local sandboxes of a worker process that was killed.

Each worker process starts one reaper process. The reaper reads the directories of open sandboxes
from a pipe whose write end only the worker has. The pipe closes when the worker ends, even by
``kill -9``. The reaper then ends the processes of those sandboxes and removes their directories.
"""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from revalid.jobs.errors import SandboxLost
from revalid.worker.file_trees import remove_tree
from revalid.worker.sandboxes.local.process_tree import ProcessTree


class OrphanReaper:
    """The worker's side: reports open sandboxes to the reaper process and keeps it running."""

    def __init__(self) -> None:
        self._open: set[Path] = set()
        self._owner = os.getpid()
        self._running: tuple[subprocess.Popen[bytes], int] | None = None

    def register(self, directory: Path) -> None:
        """Report the sandbox in ``directory`` as open: it is cleaned up if this process dies.

        Raises:
            OSError: The reaper process cannot be started.
        """
        if self._owner != os.getpid():
            self._reset_after_fork()
        self._open.add(directory)
        self._send(f"+{directory}")

    def unregister(self, directory: Path) -> None:
        """Report the sandbox in ``directory`` as closed.

        Raises:
            OSError: As :meth:`register`.
        """
        if directory in self._open:
            self._open.discard(directory)
            self._send(f"-{directory}")

    def _reset_after_fork(self) -> None:
        # After a fork, the open sandboxes and the reaper process belong to the parent.
        if self._running is not None:
            os.close(self._running[1])
            self._running[0].returncode = 0
        self._open, self._running, self._owner = set(), None, os.getpid()

    def _send(self, line: str) -> None:
        if self._running is not None:
            with suppress(BrokenPipeError):
                os.write(self._running[1], os.fsencode(f"{line}\n"))
                return
            os.close(self._running[1])
            self._running[0].wait()
            self._running = None
        reader, writer = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "revalid.worker.sandboxes.local.orphan_reaper"],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self._running = process, writer
        os.write(writer, os.fsencode("".join(f"+{directory}\n" for directory in self._open)))


orphan_reaper = OrphanReaper()


def main() -> None:
    """Wait until the worker ends, then clean up its open sandboxes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    open_directories: set[bytes] = set()
    for line in sys.stdin.buffer:
        change = open_directories.add if line.startswith(b"+") else open_directories.discard
        change(line[1:].rstrip(b"\n"))
    for directory in open_directories:
        with suppress(SandboxLost, OSError):
            asyncio.run(ProcessTree(os.fsdecode(directory)).end())
            remove_tree(Path(os.fsdecode(directory)))


if __name__ == "__main__":
    main()
