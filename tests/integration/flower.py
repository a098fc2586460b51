"""Runs Flower as users do."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

AUTH = ("viewer", "flower-password")


@dataclass(frozen=True)
class Pages:
    """Flower's pages."""

    base: str
    client: httpx.Client

    def __call__(self, path: str) -> str:
        """Read a page; empty where none is shown."""
        try:
            answer = self.client.get(path)
        except httpx.TransportError:
            return ""
        return answer.text if answer.is_success else ""


@contextmanager
def flower(broker_url: str, log: Path) -> Iterator[Pages]:
    """Run ``revalid flower``; yield its pages."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if not name.startswith("REVALID_")}
    settings = {
        "REVALID_BROKER_URL": broker_url,
        "REVALID_FLOWER_AUTH": ":".join(AUTH),
        "REVALID_FLOWER_PORT": str(port),
    }
    base = f"http://127.0.0.1:{port}"
    with (
        httpx.Client(base_url=base, auth=AUTH, timeout=10, trust_env=False) as client,
        log.open("wb") as out,
    ):
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("revalid")), "flower"],
            cwd=log.parent,
            env={**own, **settings},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Pages(base, client)
        finally:
            process.terminate()
            process.wait(30)
