"""Derives a separate key for each purpose from one stored key."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

_KEY_BYTES = 32
_OF_THIS_PROCESS = os.urandom(_KEY_BYTES)


def derive(key: bytes, purpose: str) -> bytes:
    """Return the key of one purpose; it reveals nothing about ``key`` or the other keys."""
    return hmac.digest(key, f"revalid {purpose}".encode(), hashlib.sha256)


def home_key(home: Path, purpose: str) -> bytes:
    """Return a key that all processes of a home share; if it cannot be stored, a private one."""
    path = home / "home.key"
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if not path.exists():
            home.mkdir(parents=True, exist_ok=True)
            with open(part, "xb", opener=_private) as file:
                file.write(os.urandom(_KEY_BYTES))
            with suppress(FileExistsError):  # the first process wins; its file is complete
                os.link(part, path)
            part.unlink()
        key = path.read_bytes()
    except OSError:
        key = b""
    return derive(key if len(key) == _KEY_BYTES else _OF_THIS_PROCESS, purpose)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
