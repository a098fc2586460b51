"""Decodes, scrubs and bounds a command's output, for live events and for the result."""

import codecs
import json
from collections.abc import Callable
from typing import Any, Literal

from revalid.worker.sandboxes.protocol import Stream
from revalid.worker.secrets import MASK, Scrubber

Emit = Callable[[str, dict[str, Any]], None]
"""Takes an event's type and data; never blocks."""

_CHUNK = 8_192
_DECODER = codecs.getincrementaldecoder("utf-8")


def to_text(stream: Stream, scrubber: Scrubber) -> str:
    """Return a captured stream as text; a line in the middle counts the bytes left out."""
    if not stream.truncated:
        return scrubber.text((stream.head + stream.tail).decode(errors="replace"))
    left_out = stream.size - len(stream.head) - len(stream.tail)
    return (
        f"{scrubbed_head(stream.head, scrubber)}\n"
        f"[revalid: {left_out} bytes left out]\n"
        f"{_scrubbed_tail(stream.tail, scrubber)}"
    )


def scrubbed_head(data: bytes, scrubber: Scrubber) -> str:
    """Return the text of bytes that were cut at their end, perhaps inside a letter of a secret."""
    return scrubber.before_cut(_DECODER(errors="replace").decode(data))


def _scrubbed_tail(data: bytes, scrubber: Scrubber) -> str:
    """Return the text of bytes that were cut at their start, perhaps inside a letter."""
    start = next((at for at, byte in enumerate(data[:3]) if byte & 0xC0 != 0x80), 3)
    return scrubber.after_cut(data[start:].decode(errors="replace"))


class LiveOutput:
    """Turns chunks of one step's output into events; a secret split over chunks is also scrubbed.

    Args:
        emit: Takes the events.
        index: The step's index in the job.
        scrubber: Masks the secrets.
        budget: One number: bytes of JSON that may still be sent, shared by all steps of a job.
    """

    def __init__(self, emit: Emit, index: int, scrubber: Scrubber, budget: list[int]) -> None:
        self._emit = emit
        self._index = index
        self._scrubber = scrubber
        self._budget = budget
        self._decoders = {name: _DECODER(errors="replace") for name in ("stdout", "stderr")}
        self._pending = {"stdout": ("", 0), "stderr": ("", 0)}

    def feed(self, stream: Literal["stdout", "stderr"], chunk: bytes) -> None:
        """Take the next chunk of the command's output."""
        self._push(stream, self._decoders[stream].decode(chunk), last=False)

    def finish(self) -> None:
        """Send the text that was held back."""
        for stream, decoder in self._decoders.items():
            self._push(stream, decoder.decode(b"", final=True), last=True)

    def _push(self, stream: str, text: str, *, last: bool) -> None:
        if self._budget[0] <= 0:
            return
        pending, secret = self._pending[stream]
        ready, pending, secret = self._scrubber.chunk(pending + text, secret)
        if last:
            ready += MASK * (secret > 0) + self._scrubber.text(pending[secret:])
        self._pending[stream] = ("", 0) if last else (pending, secret)
        for start in range(0, len(ready), _CHUNK):
            if self._budget[0] <= 0:
                return
            chunk = ready[start : start + _CHUNK]
            self._budget[0] -= len(json.dumps(chunk)) - 2
            self._emit("output", {"index": self._index, "stream": stream, "text": chunk})
