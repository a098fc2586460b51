"""Output of commands in containers while they run.

The wrapper of each command prints new output as lines of its own. The engine hands everything that
a container prints to its session process, which sends it on as OpenTelemetry logs.
:class:`LogReceiver` takes these logs: it is an HTTP server on the loopback address, at a path that
nobody can guess.
"""

import asyncio
import base64
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from revalid.worker.sandboxes.limits import LIVE_BYTES
from revalid.worker.sandboxes.protocol import ExecResult, OnOutput, Stream

_CLOSED = (EOFError, OSError, asyncio.CancelledError)  # cancelled when the loop ends
_LINE = 4_096  # bytes of the wrapper's longest line
_REQUEST = 4_194_304
_SPANS = 256
_TAIL = 2_000
"""Characters that are kept of each span's other output, such as a service's log."""
_TAIL_S = 1.5
"""Seconds within which a log arrives."""
_STREAMS: dict[str, Literal["stdout", "stderr"]] = {"out": "stdout", "err": "stderr"}


class OutputRelay:
    """Sends one command's output to its listener, without gaps or repeats.

    Attributes:
        live_bytes: Bytes that the wrapper may print while the command runs; 0 without a listener.
    """

    def __init__(self, on_output: OnOutput | None, output_bytes: int) -> None:
        self._on_output = on_output
        self._max_bytes = output_bytes
        self._sent = {"stdout": bytearray(), "stderr": bytearray()}
        self.live_bytes = min(LIVE_BYTES, 2 * output_bytes) if on_output else 0

    def add(self, name: Literal["stdout", "stderr"], start: int, piece: bytes) -> None:
        """Send a piece that begins at byte ``start``, unless an earlier one is missing."""
        sent = self._sent[name]
        piece = piece[: self._max_bytes - start]
        if self._on_output and start == len(sent) and piece:
            sent += piece
            self._on_output(name, piece)

    @property
    def streams(self) -> tuple[Stream, Stream]:
        """Standard output and standard error as far as they were sent."""
        sent = [bytes(piece) for piece in self._sent.values()]
        out, err = (Stream(piece, b"", len(piece)) for piece in sent)
        return out, err

    def finish(self, result: ExecResult) -> None:
        """Send the rest of both heads."""
        self._finish("stdout", result.stdout)
        self._finish("stderr", result.stderr)

    def _finish(self, name: Literal["stdout", "stderr"], stream: Stream) -> None:
        sent, head = bytes(self._sent[name]), stream.head
        if self._on_output and not sent.startswith(head):
            # The whole head, if it differs from what was sent: the sent part was forged.
            self._on_output(name, head.removeprefix(sent))


class LogReceiver:
    """Receives the logs of one session process and gives each command's output to its relay."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._path = b""
        self._subscribers: dict[str, OutputRelay] = {}
        self._partial_lines: dict[bytes, str] = {}  # lines, by span
        self._tails: dict[bytes, str] = {}  # the end of other output, by span

    async def open(self) -> dict[str, str]:
        """Listen; return the variables that make a session process send its logs here.

        The result is empty where the process also sends its logs to Dagger Cloud: the lines are
        base64, in which the engine does not find secrets to mask.
        """
        await self.close()
        if os.environ.get("DAGGER_CLOUD_TOKEN"):
            return {}
        path = f"/{uuid.uuid4().hex}"
        self._path = path.encode()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return {
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"http://127.0.0.1:{port}{path}",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "none",
        }

    async def close(self) -> None:
        """Stop listening."""
        server, self._server = self._server, None
        self._partial_lines.clear()
        self._tails.clear()
        if server is not None:
            server.close()

    @contextmanager
    def subscribe(self, relay: OutputRelay) -> Iterator[tuple[str, int]]:
        """Relay what the wrapper of one run prints, while the context is open.

        Yields:
            The run's nonce, and the number of bytes that its wrapper may print.
        """
        nonce = uuid.uuid4().hex
        if not relay.live_bytes or self._server is None:
            yield nonce, 0
            return
        self._subscribers[nonce] = relay
        try:
            yield nonce, relay.live_bytes
        finally:
            del self._subscribers[nonce]

    async def tail(self, span: str) -> str:
        """Return the end of what a container printed that is no wrapper's, once it arrived.

        Args:
            span: The span in which it ran, in hexadecimal.
        """
        if self._server is not None:
            await asyncio.sleep(_TAIL_S)  # nothing tells which log is the last
        return self._tails.get(bytes.fromhex(span), "")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request, *fields = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
                headers = {
                    name.lower(): value for name, _, value in (f.partition(b":") for f in fields)
                }
                length = int(headers[b"content-length"])
                if request.split(b" ")[1] != self._path or length > _REQUEST:
                    writer.write(b"HTTP/1.1 413 Refused\r\nContent-Length: 0\r\n\r\n")
                    return
                body = await reader.readexactly(length)
                self._receive(ExportLogsServiceRequest.FromString(body))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (*_CLOSED, LookupError, ValueError, asyncio.LimitOverrunError, DecodeError):
            pass  # the connection closed, or the sender is not a session process
        finally:
            writer.close()

    def _receive(self, request: ExportLogsServiceRequest) -> None:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    self._read_lines(record.span_id, record.body.string_value)

    def _read_lines(self, span: bytes, text: str) -> None:
        """Join pieces to lines: with secrets present, the engine sends output in pieces."""
        *lines, rest = (self._partial_lines.pop(span, "") + text).split("\n")
        for line in lines:
            nonce, _, frame = line.partition(" ")
            if relay := self._subscribers.get(nonce):
                _relay_frame(relay, frame)
            elif line:
                tail = f"{self._tails.pop(span, '')}{line}\n"[-_TAIL:]
                self._tails[span] = tail
                if len(self._tails) > _SPANS:
                    del self._tails[next(iter(self._tails))]
        if rest and len(rest) <= _LINE:
            self._partial_lines[span] = rest
            if len(self._partial_lines) > _SPANS:
                del self._partial_lines[next(iter(self._partial_lines))]


def _relay_frame(relay: OutputRelay, frame: str) -> None:
    try:
        stream, start, *pieces = frame.split(" ")
        relay.add(_STREAMS[stream], int(start), base64.b64decode("".join(pieces), validate=True))
    except (LookupError, ValueError):
        pass  # a command wrote to its wrapper's output, or the engine masked a secret in the line
