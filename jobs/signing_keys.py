"""Keys: each purpose has its own, derived from one that is kept."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

_KEY_BYTES = 32
_OF_THIS_PROCESS = os.urandom(_KEY_BYTES)


def derive(key: bytes, purpose: str) -> bytes:
    """The key of one purpose; from it nothing is learnt of ``key`` or of another purpose's."""
    return hmac.digest(key, f"revalid {purpose}".encode(), hashlib.sha256)


def home_key(home: Path, purpose: str) -> bytes:
    """A key that all processes of a home share, or this process's own where it is not writable."""
    path = home / "home.key"
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if not path.exists():
            home.mkdir(parents=True, exist_ok=True)
            with open(part, "xb", opener=_private) as file:
                file.write(os.urandom(_KEY_BYTES))
            with suppress(FileExistsError):  # whoever was first is right, and is never half there
                os.link(part, path)
            part.unlink()
        key = path.read_bytes()
    except OSError:
        key = b""
    return derive(key if len(key) == _KEY_BYTES else _OF_THIS_PROCESS, purpose)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
