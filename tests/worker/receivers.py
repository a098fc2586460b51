"""A web backend that receives webhooks."""

import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from standardwebhooks import Webhook

KEY = SecretStr("whsec_" + "c2VjcmV0" * 4)


@dataclass
class Receiver:
    """A server and the calls that it got.

    Attributes:
        calls: Path, headers and body of each call.
        statuses: Statuses of the next responses, then 204; a redirect leads to ``/elsewhere``.
        before_response: Called before each response.
    """

    port: int
    address: str = "127.0.0.1"
    calls: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    before_response: Callable[[], object] = bool

    def url(self, path: str = "/hook", host: str | None = None) -> str:
        return f"http://{host or self.address}:{self.port}{path}"

    def documents(self) -> list[Any]:
        """Return the posted documents, each verified by the library of Standard Webhooks."""
        secret = Webhook(KEY.get_secret_value())
        return [secret.verify(body, headers) for _, headers, body in self.calls]


@contextmanager
def receiver(
    statuses: Sequence[int] = (), *, address: str = "127.0.0.1", certificate: Path | None = None
) -> Iterator[Receiver]:
    """Run a server while the context is open.

    Args:
        certificate: The files of ``tls.make_certificate`` without suffix; None for no TLS.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            state.calls.append((self.path, dict(self.headers), self.rfile.read(length).decode()))
            status = state.statuses.pop(0) if state.statuses else 204
            state.before_response()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", state.url("/elsewhere"))
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients hang up on purpose

    server = Server((address, 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    state = Receiver(server.server_port, address, statuses=list(statuses))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
