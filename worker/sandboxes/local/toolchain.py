"""Says which programs the commands of a local sandbox find: a verdict there rests on them."""

import hashlib
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

_INTERPRETERS = ("go", "java", "node", "python3", "ruby")
_VERSION_TIMEOUT_S = 10.0


def toolchain(path: str) -> str:
    """Return a digest of every program in the directories of a ``PATH``.

    A program counts by its name, size and time of change. A shim stands for many versions: what it
    answers to ``--version`` counts too.
    """
    digest = hashlib.sha256()
    for directory in path.split(os.pathsep):
        digest.update(f"{directory}\0".encode(errors="surrogateescape"))
        for name, program in _programs(directory):
            line = f"{name}\0{program.st_size}\0{program.st_mtime_ns}\0"
            digest.update(line.encode(errors="surrogateescape"))
    for name in _INTERPRETERS:
        digest.update(_shim_version(name, path))
    return f"sha256:{digest.hexdigest()}"


def _programs(directory: str) -> list[tuple[str, os.stat_result]]:
    """Return the name and the status of each program, sorted by name."""
    found = {}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                found[entry.name] = entry.stat()
    return sorted(found.items())


def _shim_version(name: str, path: str) -> bytes:
    program = shutil.which(name, path=path)
    try:
        if program is None:
            return b""
        with Path(program).open("rb") as file:
            if file.read(2) != b"#!":
                return b""
        asked = subprocess.run(
            [program, "--version"],
            env={"PATH": path, "HOME": os.environ.get("HOME", "/")},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return asked.stdout
