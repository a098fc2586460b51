"""Atomic replacement of files."""

import secrets
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Replace a file atomically; a reader sees the old content or the new, never a part of it.

    Raises:
        OSError: The file cannot be written; the old content stays.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
