"""Asks the server that a local command started, on the sockets where its processes listen."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from time import monotonic

import psutil

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
_HOSTS = {"0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}  # noqa: S104


class ServerProbe:
    """Asks one command's server until it answers.

    Attributes:
        serving: What the server did until now.

    Args:
        members: Returns the command's processes.
        started: When the command started, by the monotonic clock.
    """

    def __init__(
        self, probe: Probe, members: Callable[[], Iterable[psutil.Process]], started: float
    ) -> None:
        self._probe, self._members, self._started = probe, members, started
        self.serving = Serving()

    async def settle(self) -> None:
        """Return when the server answered well and held, or did not within its time."""
        remaining = self._started + self._probe.ready_s - monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(remaining):
                while not await self._ask_all():  # noqa: ASYNC110 - a socket gives no event
                    await asyncio.sleep(_POLL_S)

    async def _ask_all(self) -> bool:
        for socket in await asyncio.to_thread(self._sockets):
            if self.serving.port is None:
                self.serving = Serving(port=socket[0])
            if await self._answers_well(*socket[:2]):
                ready_s = monotonic() - self._started
                await asyncio.sleep(HOLD_S)
                held = socket in await asyncio.to_thread(self._sockets)
                if held and await self._answers_well(*socket[:2]):
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
                    if connection.status == psutil.CONN_LISTEN:
                        host, port = connection.laddr
                        for name in _HOSTS.get(host, (host,)):
                            first = found.get((port, name), process.pid)
                            found[port, name] = min(first, process.pid)
        ordered = sorted(found, key=lambda socket: (socket[0] != self._probe.port, socket))
        return [(*socket, found[socket]) for socket in ordered[:MAX_SOCKETS]]


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
