"""Ends what a killed worker process left behind in its local sandboxes.

One guard for each worker process. It reads which sandboxes are open from a pipe whose other end
only the worker holds; when the worker is gone, ``kill -9`` included, the pipe ends, and the guard
ends those sandboxes' processes and removes their directories.
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
    """The worker's side: keeps the guard process informed, and running."""

    def __init__(self) -> None:
        self._open: set[Path] = set()
        self._owner = os.getpid()
        self._running: tuple[subprocess.Popen[bytes], int] | None = None

    def hold(self, directory: Path) -> None:
        """Have the sandbox in ``directory`` ended should this process die.

        Raises:
            OSError: The guard cannot be started.
        """
        if self._owner != os.getpid():
            self._disown()
        self._open.add(directory)
        self._tell(f"+{directory}")

    def release(self, directory: Path) -> None:
        """The sandbox in ``directory`` is closed.

        Raises:
            OSError: As :meth:`hold`.
        """
        if directory in self._open:
            self._open.discard(directory)
            self._tell(f"-{directory}")

    def _disown(self) -> None:
        # In a forked child, what is open belongs to its parent, whose guard waits for this pipe.
        if self._running is not None:
            os.close(self._running[1])
            self._running[0].returncode = 0
        self._open, self._running, self._owner = set(), None, os.getpid()

    def _tell(self, line: str) -> None:
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
        os.write(writer, os.fsencode("".join(f"+{each}\n" for each in self._open)))


orphan_reaper = OrphanReaper()


def main() -> None:
    """Wait for the end of the worker, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    held: set[bytes] = set()
    for line in sys.stdin.buffer:
        (held.add if line.startswith(b"+") else held.discard)(line[1:].rstrip(b"\n"))
    for each in held:
        with suppress(SandboxLost, OSError):
            asyncio.run(ProcessTree(os.fsdecode(each)).end())
            remove_tree(Path(os.fsdecode(each)))


if __name__ == "__main__":
    main()
