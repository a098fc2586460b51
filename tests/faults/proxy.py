"""A TCP proxy in front of a unix socket that can swallow all traffic, as a dead network does."""

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self


class Proxy:
    """Serves a loopback port from its own thread while the context is open."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.port = 0

    def swallow(self) -> None:
        """Stop forwarding: connections stay, new ones are accepted, and nothing answers."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def forward(self) -> None:
        """Forward again, starting with the data that was held back."""
        self._loop.call_soon_threadsafe(self._open.set)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> int:
        self._open.set()
        self._server = await asyncio.start_server(self._answer, "127.0.0.1")
        return int(self._server.sockets[0].getsockname()[1])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(self._socket)
        except OSError:  # the broker is down
            writer.close()
            return
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except asyncio.CancelledError:  # kept: asyncio's own callback would tell of it
            back.transport.abort()
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                await self._open.wait()
                target.write(data)
                await target.drain()
        target.close()

    async def _end(self) -> None:
        self._server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
