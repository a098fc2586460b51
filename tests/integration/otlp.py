"""A receiver of spans, as OpenTelemetry's exporters know one."""

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
    """What came, in the order in which it came."""

    port: int
    found: list[Any] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """What has a process send its spans here, soon."""
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "NO_PROXY": "127.0.0.1",
        }

    def named(self, name: str) -> list[Any]:
        """Those that are called so."""
        return [span for span in self.found if span.name == name]

    def below(self, span_id: bytes) -> list[Any]:
        """Those whose parent it is."""
        return [span for span in self.found if span.parent_span_id == span_id]


@contextmanager
def spans_received() -> Iterator[Spans]:
    """Receive spans while inside."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        spans.found.extend(scope.spans)
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
