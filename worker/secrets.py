"""Resolves secrets against the worker's allow-list, and scrubs them from everything it sends."""

import base64
import hashlib
import json
import re
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit

from revalid.jobs.errors import PolicyRefused
from revalid.jobs.job import Job
from revalid.jobs.projects.blobs import directory_of
from revalid.jobs.settings import Settings
from revalid.jobs.signing_keys import home_key

MASK = "***"
_MIN_LENGTH = 4
_PIECE_LENGTH = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/]+")
_MAX_FILE_BYTES = 65_536


def resolve_secrets(job: Job, settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a job's secrets and of the variables that the worker forwards to all.

    Raises:
        PolicyRefused: A reference is not allowed on this worker, or has no value.
    """
    values = {name: environ[name] for name in settings.forwarded if environ.get(name)}
    for variable, reference in job.secrets.items():
        kind, _, name = reference.partition("://")
        if kind == "env":
            if name not in settings.secret_allow:
                raise PolicyRefused(
                    f"secret {reference}: not allowed on this worker; add {name} to "
                    "REVALID_SECRET_ALLOW there"
                )
            if not environ.get(name):
                raise PolicyRefused(f"secret {reference}: not set on this worker; set {name} there")
            values[variable] = environ[name]
        else:
            values[variable] = _read_secret(reference, Path(name), settings.secret_files)
    return {name: value for name, value in values.items() if name not in job.env}


def private_paths(settings: Settings, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the worker's private paths: settings, secrets and other jobs' files.

    They are its home, its ``.env``, the files of secrets, the blobs, all scratch directories, and
    the directories of the sockets of Redis and the engine.
    """
    urls = (settings.broker_url or "", environ.get("_EXPERIMENTAL_DAGGER_RUNNER_HOST", ""))
    sockets = [urlsplit(url).path for url in urls if url.startswith("unix://")]
    blobs = directory_of(settings)
    return (
        settings.home,
        Path(".env").absolute(),
        Path(settings.scratch or tempfile.gettempdir()).absolute(),
        *map(Path, settings.secret_files),
        *([blobs] if blobs else []),
        *(Path(unquote(socket)).parent for socket in sockets),
    )


def _read_secret(reference: str, path: Path, allowed: tuple[str, ...]) -> str:
    try:
        real = path.resolve(strict=True)
        roots = [Path(root).resolve() for root in allowed]
        if not any(real.is_relative_to(root) for root in roots):
            raise PolicyRefused(
                f"secret {reference}: not below REVALID_SECRET_FILES of this worker; "
                "add its directory there"
            )
        with real.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise PolicyRefused(
                f"secret {reference}: above {_MAX_FILE_BYTES} bytes: use a smaller file"
            )
        value = content.decode().rstrip("\n")
    except (OSError, UnicodeDecodeError):
        value = ""
    if not value or "\0" in value:
        raise PolicyRefused(
            f"secret {reference}: no readable text on this worker; check the file there"
        )
    return value


def engine_name(name: str, value: str, key: bytes) -> str:
    """Return the name of a secret on the engine, which treats secrets of one name as equal.

    Args:
        key: A key of the worker, so that the name reveals nothing about the value.
    """
    digest = hashlib.blake2b(value.encode(), key=key, digest_size=16).hexdigest()
    return f"revalid-{name}-{digest}"


def name_key(home: Path) -> bytes:
    """Return the key for :func:`engine_name`, the same for every process of a home.

    All of these processes can then replay an install that used the secret.
    """
    return home_key(home, "names of secrets on the engine")


def passwords(settings: Settings, environ: Mapping[str, str]) -> set[str]:
    """Return the passwords in the URLs of the variables that local commands see.

    A user without a password counts as a secret: some registries take a token there.
    """
    values: set[str] = set()
    for name in settings.local_env:
        value = environ.get(name, "")
        for word in {*value.split(), *re.split(r"[\s,;|]+", value)}:
            address = word.rpartition("://")[2]
            for authority in {address.partition("/")[0], address}:
                values |= _credentials_of(authority.rpartition("@")[0])
    return values


def _credentials_of(userinfo: str) -> set[str]:
    user, _, password = userinfo.partition(":")
    token = [user] if password in ("", "x-oauth-basic") else []
    return {form for text in (userinfo, password, *token) for form in (text, unquote(text))}


def _encodings(value: str) -> set[str]:
    """Return the forms in which programs may print a value; in base64 also inside longer text."""
    plain = value.encode()
    percent = {quote(value, safe=safe) for safe in ("", "/")} | {quote_plus(value)}
    percent |= {re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), form) for form in percent}
    forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], *percent}
    forms |= {plain.hex(), plain.hex().upper()}
    for offset in range(3):
        # Base64 characters at either end may also hold bits of the bytes around the value.
        text = base64.b64encode(bytes(offset) + plain).decode().rstrip("=")
        text = text[(0, 2, 3)[offset] :]
        inner = text if (offset + len(plain)) % 3 == 0 else text[:-1]
        forms |= {text, inner}
    forms |= {form.replace("+", "-").replace("/", "_") for form in forms if _BASE64.fullmatch(form)}
    return forms


def _pieces(form: str) -> Iterator[str]:
    """Yield a form in pieces of about equal length, each at most :data:`_PIECE_LENGTH` long."""
    number = -(-len(form) // _PIECE_LENGTH)
    for at in range(number):
        yield form[at * len(form) // number : (at + 1) * len(form) // number]


class Scrubber:
    """Masks secret values in text, also if they are encoded or cut off at one end.

    Values shorter than 4 characters are ignored: they occur in ordinary text. Long values are
    searched in pieces, so the work is linear in the text and does not grow with the values.

    Args:
        values: The secret values.
        root: The worker's directory that serves as the sandbox's ``/``; it is removed from paths.
    """

    def __init__(self, values: Iterable[str], *, root: str = "") -> None:
        self._root = root
        encodings = {
            form
            for value in set(values)
            for line in {value, *(line.strip() for line in value.splitlines())}
            if len(line) >= _MIN_LENGTH
            for form in _encodings(line)
        }
        long_enough = [form for form in encodings if len(form) >= _MIN_LENGTH]
        pieces = {piece for form in long_enough for piece in _pieces(form)}
        self._pieces = frozenset(pieces)
        self._sorted_pieces = sorted(pieces)
        self._reversed_pieces = sorted(form[::-1] for form in pieces)
        lengths: dict[str, set[int]] = {}
        for form in pieces:
            lengths.setdefault(form[:_MIN_LENGTH], set()).add(len(form))
        self._lengths = {start: sorted(group, reverse=True) for start, group in lengths.items()}

    def text(self, text: str) -> str:
        """Return ``text`` with every value masked."""
        return self._masked(text, self._spans(text))

    def before_cut(self, text: str) -> str:
        """Mask a text that was cut at its end, perhaps inside a value."""
        spans = self._spans(text)
        if (cut := _longest_prefix(self._sorted_pieces, text[-_PIECE_LENGTH:], _MIN_LENGTH)) > 0:
            spans.append((len(text) - cut, len(text)))
        masked = self._masked(text, spans)
        return masked[: len(masked) - self._start_of_root(masked, _MIN_LENGTH + 1)]

    def after_cut(self, text: str) -> str:
        """Mask a text that was cut at its start, perhaps inside a value."""
        cut = _longest_prefix(self._reversed_pieces, text[:_PIECE_LENGTH][::-1], _MIN_LENGTH)
        return self._masked(text, [(0, cut), *self._spans(text)] if cut else self._spans(text))

    def chunk(self, text: str, secret: int = 0) -> tuple[str, str, int]:
        """Mask the next chunk of a stream.

        Args:
            text: The rest that the last call returned, followed by new text.
            secret: The number of secret characters that the last call returned.

        Returns:
            The masked text, the rest that may continue in the next chunk, and the number of
            characters at the start of the rest that are known to be secret.
        """
        cut = _longest_prefix(self._sorted_pieces, text[-_PIECE_LENGTH:], 1)
        kept_length = max(cut, self._start_of_root(text, 1))
        end = len(text) - kept_length
        spans = [(0, secret), *self._spans(text)]
        masked_length = max(0, max(stop for _, stop in spans) - end)
        complete_spans = [(start, min(stop, end)) for start, stop in spans if start < end]
        return self._masked(text[:end], complete_spans), text[end:], masked_length

    def _start_of_root(self, text: str, least: int) -> int:
        """Return the length of the longest end of ``text`` that is a proper start of the root."""
        return _longest_prefix([self._root], text[-len(self._root) :], least) if self._root else 0

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Return the start and end of each value in the text, ordered by start."""
        spans: list[tuple[int, int]] = []
        lengths, pieces = self._lengths, self._pieces
        if not pieces:
            return spans
        for at in range(len(text) - _MIN_LENGTH + 1):
            for length in lengths.get(text[at : at + _MIN_LENGTH], ()):
                if (piece := text[at : at + length]) in pieces:
                    spans.append((at, at + len(piece)))  # may be shorter at the end of the text
                    break
        return spans

    def _masked(self, text: str, spans: Iterable[tuple[int, int]]) -> str:
        parts: list[str] = []
        end, masked = 0, False
        for start, stop in sorted(spans):
            if stop <= end:
                continue
            if start > end or not masked:
                parts += [text[end : max(start, end)], MASK]
            end, masked = stop, True
        masked_text = "".join([*parts, text[end:]])
        return masked_text.replace(self._root, "") if self._root else masked_text


def _longest_prefix(forms: Sequence[str], text: str, least: int) -> int:
    """Return the length of the longest end of ``text`` that is a proper start of a sorted piece."""
    for length in range(len(text), least - 1, -1):
        end = text[-length:]
        at = bisect_right(forms, end)
        if at < len(forms) and forms[at].startswith(end):
            return length
    return 0
