"""Receives spans from OpenTelemetry's exporters."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Spans:
    """The received spans, in their order of arrival."""

    port: int
    spans: list[Any] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """The variables that make a process send its spans here soon."""
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "NO_PROXY": "127.0.0.1",
        }

    def by_name(self, name: str) -> list[Any]:
        """Return the spans with a name."""
        return [span for span in self.spans if span.name == name]

    def below(self, span_id: bytes) -> list[Any]:
        """Return the children of a span."""
        return [span for span in self.spans if span.parent_span_id == span_id]


@contextmanager
def spans_received() -> Iterator[Spans]:
    """Receive spans while the context is open."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        spans.spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        spans = Spans(server.server_port)
        Thread(target=server.serve_forever, daemon=True).start()
        yield spans
        server.shutdown()
