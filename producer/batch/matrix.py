"""Makes a batch item for each entry of a project's matrix."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from revalid.jobs.configuration import Configured, read_directory
from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import Axis
from revalid.jobs.projects import tarball
from revalid.jobs.settings import Settings
from revalid.producer.batch.item import BatchItem
from revalid.producer.submission import follows_project


def with_matrix(
    entries: Iterable[BatchItem], options: Mapping[str, Any], settings: Settings
) -> list[BatchItem]:
    """Return the items, with one for each entry of the matrix of a directory or an archive.

    The matrix of a Git URL is not known before it is fetched; the result of its job has a note.

    Args:
        options: The batch's arguments of :func:`.prepare`.
    """
    read = cache(partial(_read, settings))  # a batch may run a project often
    return [item for entry in entries for item in _items(entry, options, settings, read)]


def matrix_name(entry: Mapping[Axis, str]) -> str:
    """Return the words for an entry: ``node 22``."""
    return " ".join(word for pair in entry.items() for word in pair)


def _items(
    entry: BatchItem,
    options: Mapping[str, Any],
    settings: Settings,
    read: Callable[[str], Configured | None],
) -> Iterator[BatchItem]:
    merged = {**options, **entry.options}
    configured = None
    if merged.get("project_config", True) and follows_project(merged.get("image"), settings):
        configured = read(str(merged.get("overlay") or entry.origin))
    matrix = configured.configuration.matrix if configured else None
    if matrix is None:
        yield entry
        return
    for values in matrix.entries:
        update = {
            "project": f"{entry.project} [{matrix_name(values)}]",
            "options": {**entry.options, "matrix": values},
        }
        yield entry.model_copy(update=update)


def _read(settings: Settings, origin: str) -> Configured | None:
    """Return a project's configuration; None also where it is wrong, which the submit reports."""
    path = Path(origin)
    with suppress(InvalidProject, OSError):
        if path.is_dir():
            return read_directory(path)
        if path.is_file():
            bounds = tarball.Bounds(settings.project_files, settings.project_bytes)
            with path.open("rb") as file, tarball.opened(file, bounds) as root:
                return read_directory(root)
    return None
