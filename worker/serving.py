"""Servers under test: what a sandbox asks of one, and what it saw."""

from dataclasses import dataclass

READY_S = 60.0
"""Seconds within which a server must answer, by default."""
ASK_S = 5.0
"""Seconds for one answer; what arrived until then counts."""
RESPONSE_BYTES = 65_536
"""Bytes of a response that are read."""
MAX_SOCKETS = 8
"""Listening sockets that are asked."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked of a server.

    Attributes:
        paths: The paths to ask, in this order. The first that is there decides; the last decides
            whether it is there or not.
        port: The port that the server was told to use; it is asked first.
        ready_s: Seconds, from the start of the command, within which it must answer below 500.
    """

    paths: tuple[str, ...] = ("/",)
    port: int = 0
    ready_s: float = READY_S


@dataclass(frozen=True, slots=True)
class Serving:
    """What a server did.

    Attributes:
        ready_s: Seconds until it answered below 500; None if it did not.
        port: The port that answered last; of a server that did not answer, one that it listened on;
            None if it did not listen.
        path: The path that was asked.
        status: The status of the answer; None if there was none.
        response: The start of the raw response.
        ended: Whether the command ended before SIGTERM was sent.
        ignored_sigterm: Whether it had to be killed.
    """

    ready_s: float | None = None
    port: int | None = None
    path: str | None = None
    status: int | None = None
    response: bytes = b""
    ended: bool = False
    ignored_sigterm: bool = False


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
