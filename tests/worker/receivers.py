"""A web backend that is called back."""

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
    """A server and what it got.

    Attributes:
        calls: Path, headers and body of each.
        answers: Statuses of the next answers, then 204; a redirect leads to ``/elsewhere``.
        hold: Called before each answer.
    """

    port: int
    address: str = "127.0.0.1"
    calls: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    hold: Callable[[], object] = bool

    def url(self, path: str = "/hook", host: str | None = None) -> str:
        return f"http://{host or self.address}:{self.port}{path}"

    def documents(self) -> list[Any]:
        """What was posted, each checked as Standard Webhooks' own library does."""
        secret = Webhook(KEY.get_secret_value())
        return [secret.verify(body, headers) for _, headers, body in self.calls]


@contextmanager
def receiver(
    answers: Sequence[int] = (), *, address: str = "127.0.0.1", certificate: Path | None = None
) -> Iterator[Receiver]:
    """Serve while inside.

    Args:
        certificate: What ``tls.make_certificate`` wrote, without the suffix; None for no TLS.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            made.calls.append((self.path, dict(self.headers), self.rfile.read(length).decode()))
            status = made.answers.pop(0) if made.answers else 204
            made.hold()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", made.url("/elsewhere"))
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # who hangs up was told to

    server = Server((address, 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    made = Receiver(server.server_port, address, answers=list(answers))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
