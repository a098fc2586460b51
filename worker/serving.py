"""Servers under test: what a sandbox asks of one, and what it saw."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

READY_S = 60.0
"""Seconds within which a server must answer, by default."""
ASK_S = 5.0
"""Seconds for one answer; what arrived until then counts."""
RESPONSE_BYTES = 65_536
"""Bytes of a response that are read."""
MAX_SOCKETS = 8
"""Listening sockets that are asked."""
HOLD_S = 1.0
"""Seconds that a server must stay up after its first good answer."""
TLS_HELLO = b"\x16\x03\x01\0\x2d\1\0\0\x29\3\3" + 32 * b"." + b"\0\0\2\xc0\x2f\1\0\0\0"
"""What makes a server that speaks TLS answer."""
_MAX_SCRIPTS = 4
_SCRIPT = re.compile(rb'<script[^>]{0,500} src="(/[\w.@][\w./@?=&%-]{0,500})"')


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked of a server.

    Attributes:
        paths: The paths to ask, in this order. The first that is there decides; the last decides
            whether it is there or not.
        port: The port that the server was told to use; it is asked first.
        ready_s: Seconds, from the start of the command, within which it must answer well.
        pages: Whether it serves pages alone, so that the last path must be there.
        setup: A command that runs before, with the same services; empty for none.
        page_port: The port of another server of the command that has the pages, and that is not
            asked; 0 if it is the same server.
        render: Whether a browser opens its pages.
    """

    paths: tuple[str, ...] = ("/",)
    port: int = 0
    ready_s: float = READY_S
    pages: bool = False
    setup: str = ""
    page_port: int = 0
    render: bool = True

    @property
    def most_status(self) -> int:
        """The highest status of a good answer."""
        return 399 if self.pages else 499


@dataclass(frozen=True, slots=True)
class Serving:
    """What a server did.

    Attributes:
        ready_s: Seconds until it answered well and held for a second; None if it did not.
        port: The port that answered last; of a server that did not answer, one that it listened on;
            None if it did not listen.
        path: The path that was asked, or that of a script of the page that failed.
        status: The status of the answer; None if there was none.
        response: The start of the raw response, also where it is no HTTP.
        ended: Whether the command ended before SIGTERM was sent.
        ignored_sigterm: Whether it had to be killed.
        setup_failed: Whether the probe's setup failed, so that the server did not start.
        taken_port: The port that it wanted and that a process outside the sandbox holds; None if
            there is none.
    """

    ready_s: float | None = None
    port: int | None = None
    path: str | None = None
    status: int | None = None
    response: bytes = b""
    ended: bool = False
    ignored_sigterm: bool = False
    setup_failed: bool = False
    taken_port: int | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answered, for a browser in another sandbox.

    Attributes:
        port: The port that answered.
        gate: Address, port and token of the gate that leads to all ports of the server's container;
            None where both sandboxes share their ports.
        page_port: As that of a :class:`Probe`.
    """

    port: int
    gate: tuple[str, int, str] | None = None
    page_port: int = 0


Visit = Callable[[Server], Awaitable[None]]
"""Uses a server that answered; it raises nothing."""
VISIT_S = 180.0
"""Seconds after which a server is ended, whatever its visit does."""


def request(path: str, port: int) -> bytes:
    """Return the bytes of a request."""
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: localhost:{port}",
        "User-Agent: revalid",
        "Accept: text/html,application/json;q=0.9,*/*;q=0.8",
        "Accept-Encoding: identity",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode()


def status_of(response: bytes) -> int | None:
    """Return the status of a raw response; None if it is none."""
    words = response[:64].split(b"\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        return None
    number = words[1]
    return int(number) if len(number) == 3 and number.isdigit() and number >= b"100" else None


def scripts_of(response: bytes) -> list[str]:
    """Return the paths of the first scripts that a page loads from its own server."""
    return [path.decode() for path in _SCRIPT.findall(response)[:_MAX_SCRIPTS]]


def other_protocol(serving: Serving) -> str | None:
    """Return the protocol that a server without an HTTP answer speaks; None if it said nothing."""
    response = serving.response
    if serving.status is not None or not response:
        return None
    if response[:2] in (b"\x15\x03", b"\x16\x03"):
        return "TLS"
    return "HTTP/2" if response[3:9] == b"\4\0\0\0\0\0" else "no HTTP"


def body_of(response: bytes) -> bytes:
    """Return the start of a raw response's body, without the marks of its chunks."""
    head, _, body = response.partition(b"\r\n\r\n")
    if b"\ntransfer-encoding: chunked" not in head.lower():
        return body
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            break
        if length <= 0:
            break
        pieces.append(rest[:length])
        body = rest[length:].removeprefix(b"\r\n")
    return b"".join(pieces)
