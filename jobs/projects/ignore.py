"""Selects the files of a directory that belong to the project.

It leaves out ``node_modules``, version control, virtual environments, build output and caches
(:data:`LEFT_OUT`), and the files that ``.gitignore`` and ``.dockerignore`` name. A ``!pattern`` in
these includes a default again.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path

from revalid.jobs.errors import InvalidProject
from revalid.jobs.globs import MAX_WORK, Rules, TooMuchWork, Work, weight

MAX_RULES = 1_000
"""Most rules that apply to one directory; each is tried for each file."""
_MAX_BYTES = 1 << 18
_MAX_WORK = 5 * MAX_WORK

LEFT_OUT = (
    "node_modules/",
    ".git",
    ".hg/",
    ".svn/",
    ".venv/",
    "venv/",
    "dist/",
    "build/",
    "coverage/",
    ".next/",
    ".nuxt/",
    ".svelte-kit/",
    ".turbo/",
    ".parcel-cache/",
    ".vite/",
    "*.tsbuildinfo",
    "__pycache__/",
    "*.egg-info/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".DS_Store",
)


def included(root: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Yield every directory, file and link of the project, parents first, in a fixed order.

    Raises:
        InvalidProject: A directory or an ignore file is unreadable, or there are too many rules.
    """
    try:
        yield from _included(root, Work(_MAX_WORK))
    except TooMuchWork:
        raise InvalidProject(
            f"{root}: its ignore files have too many or too long lines for so many files: "
            "remove some lines"
        ) from None


def _included(root: Path, work: Work) -> Iterator[tuple[str, Path, os.stat_result]]:
    docker = [_anchored(line) for line in _lines(root / ".dockerignore")]
    docker_weight = sum(map(weight, docker))
    ignored = _rules(root, [*LEFT_OUT, *_lines(root / ".gitignore"), *docker], work)
    defaults = Rules(LEFT_OUT)
    pending: list[tuple[str, tuple[tuple[str, Rules], ...]]] = [("", (("", ignored),))]
    while pending:
        below, rules = pending.pop()
        try:
            entries = sorted(os.scandir(root / below), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise InvalidProject(f"{root / below}: {error.strerror}; make it readable") from None
        rules_weight = sum(own.weight for _, own in rules)
        for entry in reversed(entries):
            relative = below + entry.name
            work.compare(relative, rules_weight)
            status = entry.stat(follow_symlinks=False)
            directory = stat.S_ISDIR(status.st_mode)
            if _is_ignored(relative + "/" * directory, rules):
                continue
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) or directory:
                yield relative, Path(entry.path), status
        for entry in entries:
            relative = below + entry.name + "/"
            if not entry.is_dir(follow_symlinks=False):
                continue
            work.compare(relative, rules_weight + docker_weight)
            if _is_ignored(relative, rules) and (
                defaults.verdict(relative) or not _brings_back_below(relative, docker)
            ):
                continue
            own = _lines(Path(entry.path) / ".gitignore")
            inner = rules
            if own:
                inner = (*rules, (relative, _rules(Path(entry.path), own, work, rules)))
            pending.append((relative, inner))


def _is_ignored(relative: str, rules: tuple[tuple[str, Rules], ...]) -> bool:
    for base, own in reversed(rules):
        verdict = own.verdict(relative.removeprefix(base))
        if verdict is not None:
            return verdict
    return False


def _brings_back_below(directory: str, docker: list[str]) -> bool:
    """Return whether a ``!pattern`` may match below a directory that is left out.

    Only Docker looks into such a directory; git does not.
    """
    parts = directory.rstrip("/").split("/")
    for line in docker:
        if not line.startswith("!"):
            continue
        wanted = line.removeprefix("!/").split("/")
        head = list(takewhile(lambda part: part != "**", wanted))
        deeper = len(wanted) > len(parts) or len(head) < len(wanted)
        if deeper and all(map(fnmatchcase, parts, head)):
            return True
    return False


def _rules(
    directory: Path, lines: Iterable[str], work: Work, above: tuple[tuple[str, Rules], ...] = ()
) -> Rules:
    try:
        rules = Rules(lines)
        work.compile(rules.characters)
    except TooMuchWork:
        raise
    except ValueError as error:
        raise InvalidProject(f"an ignore file in {directory}: {error}") from None
    if sum(len(own) for _, own in above) + len(rules) > MAX_RULES:
        raise InvalidProject(
            f"more than {MAX_RULES} lines of ignore files apply to {directory}: remove some"
        )
    return rules


def _lines(path: Path) -> list[str]:
    try:
        if path.is_symlink() or not path.is_file():
            return []
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidProject(f"{path}: {error.strerror}; make it readable") from None
    if len(data) > _MAX_BYTES:
        raise InvalidProject(f"{path} is larger than {_MAX_BYTES} bytes: make it smaller")
    return [line.rstrip("\r") for line in data.decode(errors="replace").split("\n")]


def _anchored(line: str) -> str:
    """Convert a .dockerignore pattern to .gitignore syntax; Docker anchors each at the root."""
    pattern = line.strip()
    if not pattern or pattern.startswith("#"):
        return ""
    negation = "!" if pattern.startswith("!") else ""
    return f"{negation}/{pattern.removeprefix('!').lstrip('/')}"
