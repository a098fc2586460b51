"""Captures one output stream of a local command."""

import asyncio
import os
from typing import Literal, Self

from revalid.worker.sandboxes.protocol import OnOutput, Stream

_CHUNK = 65_536
_DRAIN_READS = 64


class Capture:
    """One output stream of a command: reads a pipe and keeps the head, the tail and the size.

    A pipe is safer than a file: ``echo x >/dev/stderr`` would truncate a file, and endless output
    would fill the disk.
    """

    def __init__(
        self, name: Literal["stdout", "stderr"], limit: int, on_output: OnOutput | None
    ) -> None:
        self._name, self._limit, self._on_output = name, limit, on_output
        self._head, self._tail, self._live = bytearray(), bytearray(), bytearray()
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self._reader, self.writer = os.pipe()

    def __enter__(self) -> Self:
        os.set_blocking(self._reader, False)
        self._loop.add_reader(self._reader, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        self.close_writer()

    def close_writer(self) -> None:
        """Close this process's copy of the write end."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def _read(self) -> bool:
        try:
            chunk = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(self._reader)
            return False
        if self._on_output is not None and self._size < self._limit:
            self._live += chunk[: self._limit - self._size]
        self._size += len(chunk)
        room = self._limit // 2 - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        if len(self._tail) > 2 * self._limit:
            self._cut_tail()
        return True

    def _cut_tail(self) -> None:
        del self._tail[: max(0, len(self._tail) - (self._limit - self._limit // 2))]

    def flush(self) -> None:
        """Send the output since the last call to the listener."""
        if self._live and self._on_output is not None:
            fresh, self._live = bytes(self._live), bytearray()
            self._on_output(self._name, fresh)

    def finish(self) -> Stream:
        """Return the captured stream; call this after every process of the command has ended."""
        for _ in range(_DRAIN_READS):
            if not self._read():
                break
        self.flush()
        if self._size <= self._limit:
            return Stream(bytes(self._head + self._tail), b"", self._size)
        self._cut_tail()
        return Stream(bytes(self._head), bytes(self._tail), self._size)
