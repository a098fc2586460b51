"""Selects the files of a directory that belong to the project.

What Git tracks belongs to it. Of the other files, those that a ``.gitignore`` names are left out,
and what tools make: version control, installed packages, virtual environments and caches. Each of
these is known by what is in it or beside it, and not by its name alone.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from revalid.jobs.errors import InvalidProject
from revalid.jobs.globs import MAX_WORK, Rules, TooMuchWork, Work
from revalid.jobs.projects.file_start import read_start
from revalid.jobs.projects.git_checkout import tracked
from revalid.jobs.source import LeftOut

MAX_RULES = 1_000
"""Most rules that apply to one directory; each is tried for each file."""
MAX_LEFT_OUT = 32
"""Most left out paths that are named."""
_MAX_BYTES = 1 << 18
_MAX_WORK = 5 * MAX_WORK
_MAX_SIZED = 5_000
"""Most files whose sizes are read to tell how much was left out."""
_MAX_PATH = 300

_REPOSITORIES = frozenset({".git", ".hg", ".svn"})
_NODE_OUTPUT = frozenset({".next", ".nuxt", ".svelte-kit", ".turbo", ".parcel-cache", ".vite"})
"""Output and caches of Node tools, where they are beside a manifest."""
_PACKAGE_MARKS = (".package-lock.json", ".modules.yaml", ".yarn-state.yml", ".bin")
_CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55"
_APPLE_DOUBLE = b"\x00\x05\x16\x07"


class Selection:
    """The files of a directory that belong to the project.

    Attributes:
        left_out: What was left out, with the rule, as far as :meth:`entries` was read.
    """

    def __init__(self, root: Path) -> None:
        self.left_out: list[LeftOut] = []
        self._root = root
        self._work = Work(_MAX_WORK)
        self._tracked = tracked(root)
        self._known = self._tracked.files | self._tracked.submodules
        self._known_directories = _parents(self._known)
        self._unsized = _MAX_SIZED

    def entries(self) -> Iterator[tuple[str, Path, os.stat_result]]:
        """Yield every directory, file and link of the project, parents first, in a fixed order.

        Raises:
            InvalidProject: A directory or an ignore file is unreadable, or there are too many
                rules.
        """
        try:
            yield from self._entries()
        except TooMuchWork:
            raise InvalidProject(
                f"{self._root}: its ignore files have too many or too long lines for so many "
                "files: remove some lines"
            ) from None

    def _entries(self) -> Iterator[tuple[str, Path, os.stat_result]]:
        ignored = _rules(self._root, _lines(self._root / ".gitignore"), self._work)
        pending: list[tuple[str, tuple[tuple[str, Rules], ...], str | None]] = [
            ("", (("", ignored),), None)
        ]
        while pending:
            below, rules, hidden_by = pending.pop()
            try:
                found = sorted(os.scandir(self._root / below), key=lambda entry: entry.name)
            except OSError as error:
                raise InvalidProject(
                    f"{self._root / below}: {error.strerror}; make it readable"
                ) from None
            if below.rstrip("/") in self._tracked.submodules and not found:
                self._leave_out(below, "submodule, not checked out", None)
            names = {entry.name for entry in found}
            directories = []
            for entry in found:
                relative = below + entry.name
                status = entry.stat(follow_symlinks=False)
                directory = stat.S_ISDIR(status.st_mode)
                rule = None
                if relative not in self._known:
                    rule = hidden_by or self._rule(entry, below, names, rules)
                if rule and not (directory and relative in self._known_directories):
                    self._leave_out(relative + "/" * directory, rule, status)
                    continue
                if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) or directory:
                    yield relative, Path(entry.path), status
                if directory:
                    directories.append((entry, rule))
            for entry, rule in reversed(directories):
                inner, relative = rules, f"{below}{entry.name}/"
                own = [] if rule else _lines(Path(entry.path) / ".gitignore")
                if own:
                    inner = (*rules, (relative, _rules(Path(entry.path), own, self._work, rules)))
                pending.append((relative, inner, rule))

    def _rule(
        self,
        entry: os.DirEntry[str],
        below: str,
        names: set[str],
        rules: tuple[tuple[str, Rules], ...],
    ) -> str | None:
        """Return the rule that leaves an entry out; None if it belongs to the project."""
        relative = below + entry.name + "/" * entry.is_dir(follow_symlinks=False)
        if entry.name in _REPOSITORIES:
            return "version control"
        for base, own in reversed(rules):
            self._work.compare(relative, own.weight)
            if (rule := own.last_match(relative.removeprefix(base))) is not None:
                return f"{rule.line} in {base}.gitignore" if rule.ignores else None
        if entry.is_dir(follow_symlinks=False):
            return _made_directory(Path(entry.path), entry.name, names)
        return _made_file(entry, names)

    def _leave_out(self, relative: str, rule: str, status: os.stat_result | None) -> None:
        if rule == "version control" or len(self.left_out) >= MAX_LEFT_OUT:
            return
        size = status.st_size if status else 0
        if relative.endswith("/") and status:
            size = self._size(self._root / relative)
        shown = os.fsencode(relative).decode(errors="replace")[:_MAX_PATH]
        self.left_out.append(LeftOut(path=shown, rule=rule[:_MAX_PATH], size_bytes=size))

    def _size(self, directory: Path) -> int:
        """Return the bytes of the files below a directory, as far as the budget goes."""
        size, pending = 0, [directory]
        while pending and self._unsized > 0:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        self._unsized -= 1
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(Path(entry.path))
                        else:
                            size += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
        return size


def _made_directory(path: Path, name: str, names: set[str]) -> str | None:
    """Return why a directory is known to be made by a tool; None if it is not."""
    manifest = "package.json" in names
    if name == "node_modules" and (
        manifest or any(os.path.lexists(path / mark) for mark in _PACKAGE_MARKS)
    ):
        return "installed packages"
    if name in _NODE_OUTPUT and manifest:
        return "output of a Node tool"
    if is_file_attributes(path):
        return "file attributes of macOS"
    try:
        with os.scandir(path) as entries:
            inside = {entry.name for _, entry in zip(range(1_000), entries, strict=False)}
    except OSError:
        return None
    if "pyvenv.cfg" in inside:
        return "virtual environment"
    if name == "__pycache__" and all(n.endswith((".pyc", ".pyo")) for n in inside):
        return "compiled modules"
    if name.endswith(".egg-info") and "PKG-INFO" in inside:
        return "metadata of an installed package"
    if "CACHEDIR.TAG" in inside and _starts_with(path / "CACHEDIR.TAG", _CACHE_TAG):
        return "cache"
    return None


def _made_file(entry: os.DirEntry[str], names: set[str]) -> str | None:
    if is_file_attributes(Path(entry.path)):
        return "file attributes of macOS"
    if entry.is_symlink() and str(Path(entry.path).readlink()).startswith(("/", "..")):
        if entry.name == "node_modules" and "package.json" in names:
            return "installed packages"
        if entry.name in (".venv", "venv"):
            return "virtual environment"
    return "build state of tsc" if entry.name.endswith(".tsbuildinfo") else None


def is_file_attributes(path: Path) -> bool:
    """Return whether macOS made a file or directory to keep the attributes of others."""
    if path.name.startswith("._"):
        return _starts_with(path, _APPLE_DOUBLE)
    return path.name in (".DS_Store", "__MACOSX")


def _starts_with(path: Path, magic: bytes) -> bool:
    return read_start(path, len(magic)) == magic


def _parents(paths: Iterable[str]) -> frozenset[str]:
    """Return every directory above a path."""
    parents: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in parents:
            parents.add(path)
    return frozenset(parents)


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
