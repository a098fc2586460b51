"""What several contract tests ask of a sandbox."""

import secrets
from collections.abc import Iterator

import psutil

from revalid.worker.sandboxes.protocol import Sandbox, Stream


def whole(stream: Stream) -> bytes:
    """The stream's bytes, of which none may be missing."""
    assert not stream.truncated
    return stream.head + stream.tail


async def output(sandbox: Sandbox, command: str) -> str:
    """What a command that must succeed prints."""
    result = await sandbox.exec(command)
    assert result.exit_code == 0, (command, result.stdout, result.stderr)
    return whole(result.stdout).decode()


async def names(sandbox: Sandbox, path: str = ".") -> list[str]:
    """The names in a directory."""
    return [entry.name for entry in await sandbox.list_directory(path)]


def new_token() -> int:
    """Seconds to sleep that no other process on this machine sleeps."""
    return 10**8 + secrets.randbelow(10**8)


async def sleeping(sandbox: Sandbox, token: int) -> bool:
    """Whether a ``sleep`` of ``token`` seconds runs where the sandbox's commands run."""
    if sandbox.kind == "local":  # in bubblewrap each command sees its own processes alone
        return ["sleep", str(token)] in [process.info["cmdline"] for process in _processes()]
    # The brackets keep the pattern from matching the command that holds it.
    pattern = f"sleep [{str(token)[0]}]{str(token)[1:]}"
    seen = await sandbox.exec(
        f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '{pattern}'"
    )
    return int(whole(seen.stdout)) > 0


def _processes() -> Iterator[psutil.Process]:
    return psutil.process_iter(["cmdline"])
