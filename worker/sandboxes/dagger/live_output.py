"""Output of commands in containers while they run.

The wrapper of each command prints what is new as lines of its own, and the engine hands these, like
all that a container prints, to its session process, which sends them on as OpenTelemetry logs.
:class:`Receiver` is where: an HTTP server on the loopback address, at a path that nobody can guess.
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

from revalid.worker.run.output import LIVE_BYTES
from revalid.worker.sandboxes.protocol import ExecResult, OnOutput, Stream

_CLOSED = (EOFError, OSError, asyncio.CancelledError)  # the last: the loop ends
_LINE = 4_096  # of the wrapper, at most
_REQUEST = 4_194_304
_SPANS = 256
_STREAMS: dict[str, Literal["stdout", "stderr"]] = {"out": "stdout", "err": "stderr"}


class OutputRelay:
    """What a listener was told of a command's output: at the end it lacks nothing."""

    def __init__(self, on_output: OnOutput | None, output_bytes: int) -> None:
        self._on_output = on_output
        self._most = output_bytes
        self._told = {"stdout": bytearray(), "stderr": bytearray()}
        self.wanted = min(LIVE_BYTES, 2 * output_bytes) if on_output else 0  # bytes

    def take(self, name: Literal["stdout", "stderr"], start: int, piece: bytes) -> None:
        """Tell a piece that begins at ``start``, unless one before it is missing."""
        told = self._told[name]
        piece = piece[: self._most - start]
        if self._on_output and start == len(told) and piece:
            told += piece
            self._on_output(name, piece)

    @property
    def streams(self) -> tuple[Stream, Stream]:
        """Standard output and error as far as they were told."""
        told = [bytes(each) for each in self._told.values()]
        out, err = (Stream(each, b"", len(each)) for each in told)
        return out, err

    def finish(self, result: ExecResult) -> None:
        """Tell what is left of both heads."""
        self._finish("stdout", result.stdout)
        self._finish("stderr", result.stderr)

    def _finish(self, name: Literal["stdout", "stderr"], stream: Stream) -> None:
        told, head = bytes(self._told[name]), stream.head
        if self._on_output and not told.startswith(head):
            # All of it where it is something else than what was told: that was forged.
            self._on_output(name, head.removeprefix(told))


class LogReceiver:
    """Takes the logs of one session process, and tells each command's listener what is its own."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._path = b""
        self._hearing: dict[str, OutputRelay] = {}
        self._unended: dict[bytes, str] = {}  # lines, by span

    async def open(self) -> dict[str, str]:
        """Listen; returns the variables that have a session process send its logs here.

        There are none where it sends them to Dagger Cloud too, for the lines that hold them hide
        secrets from the engine, which would mask them.
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
        """Listen no more."""
        server, self._server = self._server, None
        self._unended.clear()
        if server is not None:
            server.close()

    @contextmanager
    def hearing(self, heard: OutputRelay) -> Iterator[tuple[str, int]]:
        """Tell what the wrapper of one run prints; gives its nonce, and how many bytes it may."""
        nonce = uuid.uuid4().hex
        if not heard.wanted or self._server is None:
            yield nonce, 0
            return
        self._hearing[nonce] = heard
        try:
            yield nonce, heard.wanted
        finally:
            del self._hearing[nonce]

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
                if self._hearing:
                    self._hear(ExportLogsServiceRequest.FromString(body))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (*_CLOSED, LookupError, ValueError, asyncio.LimitOverrunError, DecodeError):
            pass  # closed, or no session process
        finally:
            writer.close()

    def _hear(self, request: ExportLogsServiceRequest) -> None:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    self._read(record.span_id, record.body.string_value)

    def _read(self, span: bytes, text: str) -> None:
        """Read lines from pieces: where there are secrets, the engine cuts what it sends."""
        *lines, rest = (self._unended.pop(span, "") + text).split("\n")
        for line in lines:
            nonce, _, frame = line.partition(" ")
            if heard := self._hearing.get(nonce):
                _tell(heard, frame)
        if rest and len(rest) <= _LINE:
            self._unended[span] = rest
            if len(self._unended) > _SPANS:
                del self._unended[next(iter(self._unended))]


def _tell(heard: OutputRelay, frame: str) -> None:
    try:
        stream, start, *pieces = frame.split(" ")
        heard.take(_STREAMS[stream], int(start), base64.b64decode("".join(pieces), validate=True))
    except (LookupError, ValueError):
        pass  # a command that wrote on its wrapper's output, or a secret that the engine masked
