"""Helpers that several contract tests share."""

import secrets
from collections.abc import Iterator

import psutil

from revalid.worker.sandboxes.protocol import Sandbox, Stream


def whole(stream: Stream) -> bytes:
    """Return the stream's bytes; fail if any is missing."""
    assert not stream.truncated
    return stream.head + stream.tail


async def output(sandbox: Sandbox, command: str) -> str:
    """Return what a command prints; fail if it does not succeed."""
    result = await sandbox.exec(command)
    assert result.exit_code == 0, (command, result.stdout, result.stderr)
    return whole(result.stdout).decode()


async def names(sandbox: Sandbox, path: str = ".") -> list[str]:
    """Return the names in a directory."""
    return [entry.name for entry in await sandbox.list_directory(path)]


def new_token() -> int:
    """Return a number of seconds that no other process on this machine sleeps."""
    return 10**8 + secrets.randbelow(10**8)


async def sleeping(sandbox: Sandbox, token: int) -> bool:
    """Return whether a ``sleep`` of ``token`` seconds runs among the sandbox's commands."""
    if sandbox.kind == "local":  # in bubblewrap a command sees only its own processes
        return ["sleep", str(token)] in [process.info["cmdline"] for process in _processes()]
    # The brackets keep the pattern from matching its own command.
    pattern = f"sleep [{str(token)[0]}]{str(token)[1:]}"
    count = await sandbox.exec(
        f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '{pattern}'"
    )
    return int(whole(count.stdout)) > 0


def _processes() -> Iterator[psutil.Process]:
    return psutil.process_iter(["cmdline"])
