"""Asks the server that a local command started, on the sockets where its processes listen."""

import asyncio
import errno
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing, suppress
from dataclasses import replace
from time import monotonic

import psutil

from revalid.worker.sandboxes.protocol import ExecResult
from revalid.worker.serving import (
    ASK_S,
    HOLD_S,
    MAX_SOCKETS,
    RESPONSE_BYTES,
    TLS_HELLO,
    Probe,
    Serving,
    request,
    scripts_of,
    status_of,
)

_POLL_S = 0.1
_FREED_S = 20.0
"""Seconds that a server waits for a port that another process holds."""
_TRIES = 3
_IN_USE = re.compile(
    rb"EADDRINUSE|ddress already in use|[Pp]ort \d{1,5} (?:is )?(?:already )?in use"
)
_PORT = re.compile(rb"(?:[:,] ?|[Pp]ort )(\d{2,5})\b")
_HOSTS = {"0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}  # noqa: S104


class ServerProbe:
    """Asks one command's server until it answers.

    Attributes:
        serving: What the server did until now.
        page_port: The port of another server that has the pages; 0 if it is the same.

    Args:
        members: Returns the command's processes.
        started: When the command started, by the monotonic clock.
    """

    def __init__(
        self, probe: Probe, members: Callable[[], Iterable[psutil.Process]], started: float
    ) -> None:
        self._probe, self._members, self._started = probe, members, started
        self.serving = Serving()
        self.page_port = probe.page_port

    async def settle(self) -> None:
        """Return when the server answered well and held, or did not within its time."""
        remaining = self._started + self._probe.ready_s - monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(remaining):
                while not await self._ask_all():  # noqa: ASYNC110 - a socket gives no event
                    await asyncio.sleep(_POLL_S)

    async def _ask_all(self) -> bool:
        for listener in await asyncio.to_thread(self._sockets):
            if self.serving.port is None:
                self.serving = Serving(port=listener[0])
            if await self._answers_well(*listener[:2]):
                ready_s = monotonic() - self._started
                await asyncio.sleep(HOLD_S)
                held = listener in await asyncio.to_thread(self._sockets)
                if held and await self._answers_well(*listener[:2]):
                    self.serving = replace(self.serving, ready_s=ready_s)
                    return True
        return False

    async def _answers_well(self, port: int, host: str) -> bool:
        for path in self._probe.paths:
            response = await _ask(host, port, request(path, port))
            status = status_of(response)
            if status is None:
                response = response or await _ask(host, port, TLS_HELLO)
                if self.serving.status is None and response:
                    self.serving = Serving(port=port, response=response)
                return False
            if status == 404 and path != self._probe.paths[-1]:
                continue
            answer = Serving(port=port, path=path, status=status, response=response)
            well = status <= self._probe.most_status
            failed = await self._failed_script(port, host, response) if well else None
            self.serving = failed or answer
            return well and failed is None
        return False

    async def _failed_script(self, port: int, host: str, response: bytes) -> Serving | None:
        """Return the failure of a script of a page: a development server may not compile one."""
        for script in scripts_of(response):
            answer = await _ask(host, port, request(script, port))
            status = status_of(answer)
            if status is not None and status >= 500:
                return Serving(port=port, path=script, status=status, response=answer)
        return None

    def _sockets(self) -> list[tuple[int, str, int]]:
        """Return port, host and first process of each socket that listens, in the order to ask."""
        found: dict[tuple[int, str], int] = {}
        for process in self._members():
            with suppress(psutil.Error, OSError):
                for connection in process.net_connections("tcp"):
                    if connection.status != psutil.CONN_LISTEN:
                        continue
                    host, port = connection.laddr
                    if port == self.page_port:
                        continue
                    for name in _HOSTS.get(host, (host,)):
                        first = found.get((port, name), process.pid)
                        found[port, name] = min(first, process.pid)
        ordered = sorted(found, key=lambda place: (place[0] != self._probe.port, place))
        return [(*place, found[place]) for place in ordered[:MAX_SOCKETS]]


async def with_its_port(run: Callable[[], Awaitable[ExecResult]]) -> ExecResult:
    """Run a server, and run it again if the port that it wants was taken: all commands share them.

    Returns:
        The last result. It has ``taken_port`` if another process still holds the port.
    """
    for remaining in reversed(range(_TRIES)):
        result = await run()
        port = _wanted_port(result)
        if port is None or result.serving is None or result.cancelled:
            break
        again = remaining and result.serving.ended
        if not again or not await _freed(port):
            if await asyncio.to_thread(_is_taken, port):
                return replace(result, serving=replace(result.serving, taken_port=port))
            break
    return result


def _wanted_port(result: ExecResult) -> int | None:
    """Return the port of which a server that did not start said that it was in use."""
    if result.serving is None or result.serving.ready_s is not None:
        return None
    for stream in (result.stderr, result.stdout):
        for line in (stream.head + b"\n" + stream.tail).splitlines():
            ports = _PORT.findall(line) if _IN_USE.search(line) else []
            if ports and int(ports[-1]) < 65_536:
                return int(ports[-1])
    return None


async def _freed(port: int) -> bool:
    """Wait until nothing listens on a port; return whether that came in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_FREED_S):
            while await asyncio.to_thread(_is_taken, port):  # noqa: ASYNC110 - a port gives none
                await asyncio.sleep(_POLL_S)
            return True
    return False


def _is_taken(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


async def _ask(host: str, port: int, question: bytes) -> bytes:
    """Return the start of a raw response; empty without one."""
    response = bytearray()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(question)
                while len(response) < RESPONSE_BYTES and (
                    piece := await reader.read(RESPONSE_BYTES - len(response))
                ):
                    response += piece
                    if not response.startswith(b"HTTP/"[: len(response)]):
                        break
            finally:
                writer.transport.abort()
    return bytes(response)
