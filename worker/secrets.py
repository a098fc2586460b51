"""Secrets: resolved on the worker against its allow-list, and scrubbed from all that leaves it."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from jobs.errors import PolicyRefused
from jobs.job import Job
from jobs.settings import Settings

MASK = "***"
_MIN_LENGTH = 4
_MAX_FILE_BYTES = 65_536
_KEY_BYTES = 32


def resolve_secrets(job: Job, settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The values of a job's secret references, after those that the worker forwards to all.

    Raises:
        PolicyRefused: A reference is not allowed here, or has no value.
    """
    values = {name: environ[name] for name in settings.forwarded if environ.get(name)}
    for variable, reference in job.secrets.items():
        kind, _, where = reference.partition("://")
        if kind == "env":
            if where not in settings.secret_allow:
                raise PolicyRefused(
                    f"secret {reference}: not allowed on this worker; add {where} to "
                    "REVALID_SECRET_ALLOW there"
                )
            if not environ.get(where):
                raise PolicyRefused(
                    f"secret {reference}: not set on this worker; set {where} there"
                )
            values[variable] = environ[where]
        else:
            values[variable] = _read_secret(reference, Path(where), settings.secret_files)
    return {name: value for name, value in values.items() if name not in job.env}


def private_paths(settings: Settings, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """What of the worker's no command needs: its home, and where Redis and the engine listen."""
    urls = (settings.broker_url or "", environ.get("_EXPERIMENTAL_DAGGER_RUNNER_HOST", ""))
    sockets = [urlsplit(url).path for url in urls if url.startswith("unix://")]
    return (settings.home, *(Path(unquote(socket)).parent for socket in sockets))


def _read_secret(reference: str, path: Path, allowed: tuple[str, ...]) -> str:
    try:
        real = path.resolve(strict=True)
        roots = [Path(root).resolve() for root in allowed]
        if not any(real.is_relative_to(root) for root in roots):
            raise PolicyRefused(
                f"secret {reference}: not below REVALID_SECRET_FILES of this worker"
            )
        with real.open("rb") as file:
            value = file.read(_MAX_FILE_BYTES).decode().rstrip("\n")
    except (OSError, UnicodeDecodeError):
        value = ""
    if not value or "\0" in value:
        raise PolicyRefused(f"secret {reference}: no readable text on this worker")
    return value


def engine_name(name: str, value: str, key: bytes) -> str:
    """What a secret is called on the engine, which takes those of one name for equal.

    Args:
        key: The worker's own, so that the name says nothing of the value.
    """
    digest = hashlib.blake2b(value.encode(), key=key, digest_size=16).hexdigest()
    return f"revalid-{name}-{digest}"


def name_key(home: Path) -> bytes:
    """The key of :func:`engine_name`: one for all processes of a home, or else this process's own.

    With one key, an install that was given a secret is replayed by every process of the home.
    """
    path = home / "secret-names.key"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), open(path, "xb", opener=_private) as file:
            file.write(os.urandom(_KEY_BYTES))
        key = path.read_bytes()
    except OSError:
        key = b""
    return key if len(key) == _KEY_BYTES else os.urandom(_KEY_BYTES)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Scrubber:
    """Replaces secret values, also where they are encoded or cut at an end.

    Values under 4 characters are not looked for: they stand in ordinary text.

    Args:
        root: The worker's directory that is the sandbox's ``/``; it is left out of paths.
    """

    def __init__(self, values: Iterable[str], *, root: str = "") -> None:
        self._root = root
        forms: set[str] = set()
        for value in values:
            for line in {value, *value.splitlines()}:
                forms |= {line, quote(line, safe=""), json.dumps(line)[1:-1]}
                encoded = base64.b64encode(line.encode()).decode().rstrip("=")
                forms.add(encoded)
        self._forms = sorted((f for f in forms if len(f) >= _MIN_LENGTH), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms))) if self._forms else None

    def unfinished(self, text: str) -> int:
        """Length of the end of ``text`` that may be the start of what is looked for."""
        found = 0
        for form in (*self._forms, self._root):
            for length in range(min(len(form) - 1, len(text)), found, -1):
                if text.endswith(form[:length]):
                    found = length
                    break
        return found

    def text(self, text: str) -> str:
        """``text`` with every value masked."""
        text = self._pattern.sub(MASK, text) if self._pattern else text
        return text.replace(self._root, "") if self._root else text

    def before_cut(self, text: str) -> str:
        """The same for text that was cut at its end, perhaps within a value."""
        text = self.text(text)
        for form in self._forms:
            for length in range(min(len(form) - 1, len(text)), _MIN_LENGTH - 1, -1):
                if text.endswith(form[:length]):
                    return text[:-length] + MASK
        return text

    def after_cut(self, text: str) -> str:
        """The same for text that was cut at its start, perhaps within a value."""
        text = self.text(text)
        for form in self._forms:
            for length in range(min(len(form) - 1, len(text)), _MIN_LENGTH - 1, -1):
                if text.startswith(form[-length:]):
                    return MASK + text[length:]
        return text
