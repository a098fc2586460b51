"""Files that are whole or not there."""

import secrets
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Write a file; a reader sees the old one or the new one, never a part.

    Raises:
        OSError: It cannot be written; the old one stays.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
