"""A server of the local sandbox that finds its port taken."""

import socket
from collections.abc import Iterator

import pytest

from revalid.worker.sandboxes.local import probe
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.serving import Probe, Serving

_SERVER = """
const server = require("http").createServer((_, answer) => answer.end("mine"))
server.listen(Number(process.argv[2]), "127.0.0.1")
"""


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """Return a socket of this process that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


async def serve(command: str) -> Serving:
    """Return what a server did in a new sandbox."""
    sandbox = LocalSandbox(passthrough={})
    try:
        await sandbox.write_file("server.js", _SERVER)
        serving = (await sandbox.exec(command, probe=Probe(ready_s=10))).serving
    finally:
        await sandbox.close()
    assert serving is not None
    return serving


@pytest.mark.parametrize(
    "command",
    [
        "exec node server.js {port}",
        "echo 'Failed to start server. Is port {port} in use?'; exit 1",
        "echo '[Errno 98] bind on address (0.0.0.0, {port}): address already in use'; exit 1",
    ],
)
async def test_a_port_that_another_process_holds_is_not_the_projects_fault(
    held: socket.socket, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(probe, "_FREED_S", 0.3)
    port = held.getsockname()[1]
    assert (await serve(command.format(port=port))).taken_port == port


async def test_a_port_that_is_freed_is_waited_for(
    held: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, looks = held.getsockname()[1], iter([True, True, False])

    def free_at_the_third_look(_: int) -> bool:
        taken = next(looks)
        if not taken:
            held.close()
        return taken

    monkeypatch.setattr(probe, "_is_taken", free_at_the_third_look)
    serving = await serve(f"exec node server.js {port}")
    assert serving.ready_s is not None
    assert (serving.port, serving.taken_port) == (port, None)


async def test_a_port_that_nobody_holds_is_the_projects_fault(unused_tcp_port: int) -> None:
    serving = await serve(f"echo address already in use :::{unused_tcp_port}; exit 1")
    assert (serving.ended, serving.taken_port) == (True, None)
