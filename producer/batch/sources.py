"""Finds a batch's projects in directories, globs, archives, manifests and Git URLs."""

import csv
import glob
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from revalid.jobs.errors import InvalidJob, InvalidProject
from revalid.jobs.job import describe
from revalid.jobs.steps import Frozen, Text
from revalid.producer.batch.item import BatchItem

GIT = re.compile(r"\A(?:(?:https?|ssh|git|file)://\S+|[\w.-]+@[\w.-]+:\S+)\Z")
"""A Git URL; ``#branch`` at its end names what to check out."""
_ARCHIVE = re.compile(r"\.(?:zip|tar|tgz|tbz2|txz|tzst|tar\.(?:gz|bz2|xz|zst))\Z")
_MANIFESTS = ("revalid.toml", "package.json", "pyproject.toml", "setup.py", "requirements.txt")
_PARTS = ("client", "server")
_SHOWN = 200


class Line(Frozen):
    """One line of a manifest; other columns of a CSV file become labels."""

    project: str = Field(min_length=1)
    name: str | None = Field(default=None, min_length=1)
    strategy: str | None = None
    commands: tuple[str, ...] = ()
    image: str | None = None
    sandbox: str | None = None
    labels: dict[Text, Text] = Field(default_factory=dict)

    def entry(self, base: Path) -> BatchItem:
        """Make the batch item; paths are relative to ``base``, the manifest's directory."""
        remote = GIT.match(self.project) is not None
        origin = self.project if remote else str(base / self.project)
        given = {
            "strategy": self.strategy,
            "commands": list(self.commands),
            "image": self.image,
            "sandbox": self.sandbox,
        }
        return BatchItem(
            project=self.name or _name(origin),
            origin=origin,
            labels=self.labels,
            options={name: value for name, value in given.items() if value},
        )


def find_entries(
    sources: Sequence[str],
    *,
    only: Sequence[str] = (),
    labels: dict[str, str] | None = None,
    limit: int | None = None,
    repeat: int = 1,
) -> list[BatchItem]:
    """Find the projects of ``sources``, in order, each with a unique name.

    Args:
        only: Globs of names; all by default.
        labels: Labels that a project must have.
        limit: Most projects to take.
        repeat: How often to run each project.

    Raises:
        InvalidProject: A source is missing, is unreadable, or has no project.
        InvalidJob: A manifest's line is wrong.
    """
    entries = [entry for source in sources for entry in _entries(source)]
    wanted = labels or {}
    kept = [
        entry
        for entry in _named(entries)
        if (not only or any(fnmatchcase(entry.project, pattern) for pattern in only))
        and wanted.items() <= entry.labels.items()
    ][:limit]
    if not kept:
        raise InvalidProject(
            f"none of the {len(entries)} projects matches: loosen --only, --only-label or --limit"
        )
    return [
        entry.model_copy(update={"repeat": number})
        for number in range(1, repeat + 1)
        for entry in kept
    ]


def _entries(source: str) -> list[BatchItem]:
    try:
        entries = list(_expand(source))
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidProject(f"{_shown(source)}: {why}") from None
    for name in (source, *(entry.origin for entry in entries)):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InvalidProject(f"{_shown(name)}: the name is not UTF-8: rename it") from None
    return entries


def _shown(source: str) -> str:
    """Shorten and escape a name, so that any terminal can print it in one line."""
    shown = source if len(source) <= _SHOWN else f"{source[:_SHOWN]}..."
    return shown.encode(errors="backslashreplace").decode()


def _expand(source: str) -> Iterator[BatchItem]:
    if GIT.match(source):
        yield BatchItem(project=_name(source), origin=source)
        return
    path = Path(source)
    if not path.exists() and glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - absolute ones too
        if not matches:
            raise InvalidProject(
                f"{source}: no file matches; quote the glob, so that the shell does not expand it"
            )
        yield from (_local(Path(match)) for match in matches if _is_project(Path(match)))
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path)
    elif path.suffix == ".csv":
        yield from _csv_lines(path)
    elif path.is_file() and _ARCHIVE.search(path.name):
        yield _local(path)
    elif path.is_dir():
        if _has_manifest(path):
            yield _local(path)
            return
        inner = [child for child in sorted(path.iterdir()) if _is_project(child)]
        if not inner:
            raise InvalidProject(
                f"{source}: it contains no projects, neither directories nor archives"
            )
        yield from map(_local, inner)
    else:
        raise InvalidProject(
            f"{source}: not a directory, archive, .jsonl or .csv manifest, glob or Git URL"
        )


def _is_project(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return path.is_dir() or (path.is_file() and _ARCHIVE.search(path.name) is not None)


def _has_manifest(path: Path) -> bool:
    return any((path / part / name).is_file() for part in ("", *_PARTS) for name in _MANIFESTS)


def _local(path: Path) -> BatchItem:
    return BatchItem(project=_name(str(path)), origin=str(path.resolve()))


def _name(origin: str) -> str:
    last = re.split(r"[/:]", origin.partition("#")[0].rstrip("/"))[-1]
    return _ARCHIVE.sub("", last).removesuffix(".git") or origin


def _named(entries: Iterable[BatchItem]) -> Iterator[BatchItem]:
    """Names made unique: the second ``app`` is ``app-2``."""
    taken: dict[str, int] = {}
    for entry in entries:
        name, number = entry.project, taken.get(entry.project, 0) + 1
        while number > 1 and f"{name}-{number}" in taken:
            number += 1
        taken[name] = number
        unique = name if number == 1 else f"{name}-{number}"
        taken.setdefault(unique, 1)
        yield entry.model_copy(update={"project": unique})


def _json_lines(path: Path) -> Iterator[BatchItem]:
    # JSON strings may hold U+2028 and others at which splitlines() would break them.
    for number, text in enumerate(_read(path).split("\n"), 1):
        if text.strip():
            try:
                data = json.loads(text)
            except ValueError as error:
                raise InvalidJob(f"{path}:{number}: not JSON ({error})") from None
            except RecursionError:
                raise InvalidJob(f"{path}:{number}: nested too deeply") from None
            yield _line(path, number, data)


def _csv_lines(path: Path) -> Iterator[BatchItem]:
    rows = csv.DictReader(io.StringIO(_read(path), newline=""), strict=True)
    fields = set(Line.model_fields) | {"command"}
    try:
        for row in rows:
            number = rows.line_num
            if None in row or None in row.values():
                raise InvalidJob(f"{path}:{number}: the number of columns differs from the header")
            data: dict[str, Any] = {
                name: value for name, value in row.items() if name in fields and value
            }
            if command := data.pop("command", None):
                data["commands"] = [command]
            data["labels"] = {
                name: value for name, value in row.items() if name not in fields and value
            }
            yield _line(path, number, data)
    except csv.Error as error:
        raise InvalidJob(f"{path}: not CSV ({error})") from None


def _line(path: Path, number: int, data: Any) -> BatchItem:
    try:
        return Line.model_validate(data).entry(path.resolve().parent)
    except ValidationError as error:
        raise InvalidJob(f"{path}:{number}: {describe(error)}") from None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidProject(f"manifest {path}: {error}") from None
