"""Output on its way out of a sandbox: decoded, scrubbed, bounded, live and in the result."""

import codecs
import json
from collections.abc import Callable
from typing import Any, Literal

from revalid.worker.sandboxes.protocol import Stream
from revalid.worker.secrets import MASK, Scrubber

Emit = Callable[[str, dict[str, Any]], None]
"""Takes an event's type and data; never waits."""

LIVE_BYTES = 262_144
"""Sent of a job at most while it runs, and had live of a command on Dagger."""
_CHUNK = 8_192


def to_text(stream: Stream, scrubber: Scrubber) -> str:
    """A captured stream as text; what was left out in the middle is counted in a line."""
    head = stream.head.decode(errors="replace")
    if not stream.truncated:
        return scrubber.text(head + stream.tail.decode(errors="replace"))
    left_out = stream.size - len(stream.head) - len(stream.tail)
    tail = stream.tail.decode(errors="replace")
    return (
        f"{scrubber.before_cut(head)}\n"
        f"[revalid: {left_out} bytes left out]\n"
        f"{scrubber.after_cut(tail)}"
    )


class LiveOutput:
    """Turns chunks of one step's output into events; a value split over chunks is still scrubbed.

    Args:
        emit: Takes the events.
        index: The step's place in the job.
        budget: Bytes of JSON that may still be sent, shared by all steps of a job.
    """

    def __init__(self, emit: Emit, index: int, scrubber: Scrubber, budget: list[int]) -> None:
        self._emit = emit
        self._index = index
        self._scrubber = scrubber
        self._budget = budget
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder(errors="replace") for name in ("stdout", "stderr")}
        self._held = {"stdout": ("", 0), "stderr": ("", 0)}

    def feed(self, stream: Literal["stdout", "stderr"], chunk: bytes) -> None:
        """Take a chunk as the command writes it."""
        self._push(stream, self._decoders[stream].decode(chunk), last=False)

    def finish(self) -> None:
        """Send what was held back."""
        for stream, decoder in self._decoders.items():
            self._push(stream, decoder.decode(b"", final=True), last=True)

    def _push(self, stream: str, text: str, *, last: bool) -> None:
        if self._budget[0] <= 0:
            return
        held, secret = self._held[stream]
        sent, held, secret = self._scrubber.part(held + text, secret)
        if last:
            sent += MASK * (secret > 0) + self._scrubber.text(held[secret:])
        self._held[stream] = ("", 0) if last else (held, secret)
        for start in range(0, len(sent), _CHUNK):
            if self._budget[0] <= 0:
                return
            part = sent[start : start + _CHUNK]
            self._budget[0] -= len(json.dumps(part)) - 2
            self._emit("output", {"index": self._index, "stream": stream, "text": part})
