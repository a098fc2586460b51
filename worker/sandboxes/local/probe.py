"""Asks the server that a local command started, on the sockets where its processes listen."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from time import monotonic

import psutil

from revalid.worker.serving import (
    ASK_S,
    MAX_SOCKETS,
    RESPONSE_BYTES,
    Probe,
    Serving,
    request,
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
        """Return when the server answered below 500, or did not within its time."""
        remaining = self._started + self._probe.ready_s - monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(remaining):
                while not await self._ask_all():  # noqa: ASYNC110 - a socket gives no event
                    await asyncio.sleep(_POLL_S)

    async def _ask_all(self) -> bool:
        sockets = await asyncio.to_thread(self._sockets)
        for port, host in sockets:
            if self.serving.port is None:
                self.serving = Serving(port=port)
            for path in self._probe.paths:
                response = await _ask(host, port, path)
                status = status_of(response)
                if status is None:
                    break
                if status == 404 and path != self._probe.paths[-1]:
                    continue
                self.serving = Serving(port=port, path=path, status=status, response=response)
                if status < 500:
                    self.serving = replace(self.serving, ready_s=monotonic() - self._started)
                    return True
                break
        return False

    def _sockets(self) -> list[tuple[int, str]]:
        """Return port and host of each socket that listens; the port to ask first is the first."""
        found = set()
        for process in self._members():
            with suppress(psutil.Error, OSError):
                for connection in process.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        host, port = connection.laddr
                        found |= {(port, name) for name in _HOSTS.get(host, (host,))}
        ordered = sorted(found, key=lambda socket: (socket[0] != self._probe.port, socket))
        return ordered[:MAX_SOCKETS]


async def _ask(host: str, port: int, path: str) -> bytes:
    """Return the start of a raw response; empty without one."""
    response = bytearray()
    writer = None
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request(path, port))
            while len(response) < RESPONSE_BYTES and (
                piece := await reader.read(RESPONSE_BYTES - len(response))
            ):
                response += piece
    if writer is not None:
        writer.transport.abort()
    return bytes(response)
