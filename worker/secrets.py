"""Secrets: resolved on the worker against its allow-list, and scrubbed from all that leaves it."""

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
_PIECE = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/]+")
_MAX_FILE_BYTES = 65_536


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
    """What of the worker's no command needs: files with settings, secrets and other jobs.

    They are its home, its ``.env``, what secrets come from, the blobs, all scratch directories, and
    where Redis and the engine listen.
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
                f"secret {reference}: not below REVALID_SECRET_FILES of this worker"
            )
        with real.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise PolicyRefused(f"secret {reference}: above {_MAX_FILE_BYTES} bytes: name less")
        value = content.decode().rstrip("\n")
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
    """The key of :func:`engine_name`: with one, every process of a home names a secret alike.

    So an install that was given it is replayed by each of them.
    """
    return home_key(home, "names of secrets on the engine")


def passwords(settings: Settings, environ: Mapping[str, str]) -> set[str]:
    """What is secret in the variables that local commands see: the passwords in their URLs.

    A user without a password is a token, as some registries want it; one with is no secret.
    """
    found: set[str] = set()
    for name in settings.local_env:
        value = environ.get(name, "")
        for word in {*value.split(), *re.split(r"[\s,;|]+", value)}:
            rest = word.rpartition("://")[2]
            for before in {rest.partition("/")[0], rest}:
                found |= _of_user(before.rpartition("@")[0])
    return found


def _of_user(userinfo: str) -> set[str]:
    user, _, password = userinfo.partition(":")
    token = [user] if password in ("", "x-oauth-basic") else []
    return {form for text in (userinfo, password, *token) for form in (text, unquote(text))}


def _encoded(value: str) -> set[str]:
    """A value as programs may print it: each form as a whole or, in base64, within more bytes."""
    plain = value.encode()
    percent = {quote(value, safe=safe) for safe in ("", "/")} | {quote_plus(value)}
    percent |= {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in percent}
    forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], *percent}
    forms |= {plain.hex(), plain.hex().upper()}
    for before in range(3):
        # Characters that hold bits of what stands before and after are not the value's alone.
        text = base64.b64encode(bytes(before) + plain).decode().rstrip("=")
        text = text[(0, 2, 3)[before] :]
        inner = text if (before + len(plain)) % 3 == 0 else text[:-1]
        forms |= {text, inner}
    forms |= {form.replace("+", "-").replace("/", "_") for form in forms if _BASE64.fullmatch(form)}
    return forms


def _pieces(form: str) -> Iterator[str]:
    """A form in pieces of about equal length, none longer than a bound."""
    number = -(-len(form) // _PIECE)
    for at in range(number):
        yield form[at * len(form) // number : (at + 1) * len(form) // number]


class Scrubber:
    """Replaces secret values, also where they are encoded or cut at an end.

    Values under 4 characters are not looked for: they stand in ordinary text. Long ones are looked
    for in pieces, so that the work is linear in the text and does not grow with the values.

    Args:
        root: The worker's directory that is the sandbox's ``/``; it is left out of paths.
    """

    def __init__(self, values: Iterable[str], *, root: str = "") -> None:
        self._root = root
        whole = {
            form
            for value in set(values)
            for line in {value, *(line.strip() for line in value.splitlines())}
            if len(line) >= _MIN_LENGTH
            for form in _encoded(line)
        }
        found = {piece for form in whole if len(form) >= _MIN_LENGTH for piece in _pieces(form)}
        self._forms = frozenset(found)
        self._sorted = sorted(found)
        self._backwards = sorted(form[::-1] for form in found)
        lengths: dict[str, set[int]] = {}
        for form in found:
            lengths.setdefault(form[:_MIN_LENGTH], set()).add(len(form))
        self._lengths = {start: sorted(some, reverse=True) for start, some in lengths.items()}

    def text(self, text: str) -> str:
        """``text`` with every value masked."""
        return self._masked(text, self._spans(text))

    def before_cut(self, text: str) -> str:
        """The same for text that was cut at its end, perhaps within a value."""
        spans = self._spans(text)
        if (cut := _longest(self._sorted, text[-_PIECE:], _MIN_LENGTH)) > 0:
            spans.append((len(text) - cut, len(text)))
        return self._masked(text, spans)

    def after_cut(self, text: str) -> str:
        """The same for text that was cut at its start, perhaps within a value."""
        cut = _longest(self._backwards, text[:_PIECE][::-1], _MIN_LENGTH)
        return self._masked(text, [(0, cut), *self._spans(text)] if cut else self._spans(text))

    def part(self, text: str, secret: int = 0) -> tuple[str, str, int]:
        """What can be said of text that goes on, the end that must wait, and how much of that is
        secret already; both are given with the text that follows.
        """
        keep = _longest(self._sorted, text[-_PIECE:], 1)
        for length in range(min(len(self._root) - 1, len(text)), keep, -1):
            if text.endswith(self._root[:length]):
                keep = length
                break
        end = len(text) - keep
        spans = [(0, secret), *self._spans(text)]
        waits = max(0, max(stop for _, stop in spans) - end)
        said = [(start, min(stop, end)) for start, stop in spans if start < end]
        return self._masked(text[:end], said), text[end:], waits

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Where the values stand, in order of their starts."""
        spans: list[tuple[int, int]] = []
        lengths, forms = self._lengths, self._forms
        if not forms:
            return spans
        for at in range(len(text) - _MIN_LENGTH + 1):
            for length in lengths.get(text[at : at + _MIN_LENGTH], ()):
                if (found := text[at : at + length]) in forms:
                    spans.append((at, at + len(found)))  # less at the text's end
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
        whole = "".join([*parts, text[end:]])
        return whole.replace(self._root, "") if self._root else whole


def _longest(forms: Sequence[str], text: str, least: int) -> int:
    """Length of the longest end of ``text`` that begins one of the sorted forms and is not one."""
    for length in range(len(text), least - 1, -1):
        end = text[-length:]
        at = bisect_right(forms, end)
        if at < len(forms) and forms[at].startswith(end):
            return length
    return 0
