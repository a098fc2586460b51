"""Files on their way into a container, as a directory that the engine uploads in one operation."""

import posixpath
from collections.abc import Mapping
from pathlib import Path


def stage(staged: Path, root: str, targets: Mapping[str, bytes], mode: int) -> None:
    """Write files below ``staged`` as they shall stand below ``root``.

    Raises:
        FileExistsError, NotADirectoryError: One target is a parent of another.
    """
    for target, content in targets.items():
        file = staged / posixpath.relpath(target, root)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)


def as_bytes(content: str | bytes) -> bytes:
    """Text as UTF-8."""
    return content.encode() if isinstance(content, str) else content


def literal(name: str) -> str:
    """A file's name as a pattern that matches nothing else."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in name)
