"""A registry of npm and PyPI that serves one tiny package, and fails on request."""

import base64
import gzip
import hashlib
import io
import json
import socket
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

NAME = "tiny-thing"
_WHEEL = "tiny_thing-1.0.0-py3-none-any.whl"


class Registry(ThreadingHTTPServer):
    """A registry on a loopback port.

    Attributes:
        trouble: The status of every answer, ``reset`` to break connections, or None to serve.
        asked: The paths that were asked for.
    """

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.trouble: int | str | None = None
        self.asked: list[str] = []
        self.url = f"http://{host}:{self.server_port}"
        self.files = {
            f"/{NAME}/-/{NAME}-1.0.0.tgz": _npm_tarball(),
            f"/files/{_WHEEL}": _wheel(),
        }
        self.files[f"/{NAME}"] = self._packument()
        self.files[f"/simple/{NAME}/"] = f'<a href="/files/{_WHEEL}">{_WHEEL}</a>'.encode()

    @property
    def integrity(self) -> str:
        """The digest of the npm package, as a lockfile names it."""
        digest = hashlib.sha512(self.files[f"/{NAME}/-/{NAME}-1.0.0.tgz"]).digest()
        return f"sha512-{base64.b64encode(digest).decode()}"

    def _packument(self) -> bytes:
        tarball = f"{self.url}/{NAME}/-/{NAME}-1.0.0.tgz"
        dist = {"tarball": tarball, "integrity": self.integrity}
        versions = {"1.0.0": {"name": NAME, "version": "1.0.0", "dist": dist}}
        document = {"name": NAME, "dist-tags": {"latest": "1.0.0"}, "versions": versions}
        return json.dumps(document).encode()


@contextmanager
def registry() -> Iterator[Registry]:
    """Serve a registry."""
    with Registry() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_HEAD(self) -> None:
        """Answer as to GET, without the content."""
        self.do_GET()

    def do_GET(self) -> None:
        """Serve a file, or fail as asked."""
        self.server.asked.append(self.path)
        trouble, body = self.server.trouble, self.server.files.get(self.path)
        if trouble == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            return
        status = trouble if isinstance(trouble, int) else 404 if body is None else 200
        content = body if status == 200 and body is not None else b"{}"
        self.send_response(status)
        kind = "text/html" if self.path.startswith("/simple/") else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def _npm_tarball() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        manifest = json.dumps({"name": NAME, "version": "1.0.0", "main": "index.js"})
        for name, text in (("package.json", manifest), ("index.js", "module.exports = 1\n")):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0)  # equal bytes for each registry


def _wheel() -> bytes:
    info = "tiny_thing-1.0.0.dist-info"
    files = {
        "tiny_thing.py": "VALUE = 1\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()
