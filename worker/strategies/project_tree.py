"""Reads a hostile project: only regular files inside it, up to size limits.

A link to a file of the project counts as that file. No other link is followed.
"""

import errno
import json
import os
import stat
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.toml import parse_toml

MAX_BYTES = 1 << 20
TOTAL_BYTES = 4 << 20
"""Limit of all files that are read whole: parsed, they take about thirty times the memory."""
HEAD_BYTES = 4096
SKIPPED = frozenset({".git", "node_modules"})
_AFTER_SLASH = chr(ord("/") + 1)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class ProjectTree:
    """A project directory.

    Every path is relative to it and uses ``/``. Links that lead out of it, links to directories and
    devices count as missing files.

    Args:
        selected: The files and links that belong to the project; None for every one.
    """

    def __init__(self, root: Path, selected: Collection[str] | None = None) -> None:
        self._root = root
        self._selected = selected
        self._targets: dict[str, str] = {}
        self._texts: dict[str, str | None] = {}
        self._remaining_bytes = TOTAL_BYTES

    @cached_property
    def files(self) -> frozenset[str]:
        """Every regular file outside ``.git`` and ``node_modules``.

        Raises:
            InvalidProject: A directory cannot be listed.
        """
        return frozenset(self._listing[0])

    @cached_property
    def has_node_modules(self) -> bool:
        """Whether the project contains installed packages."""
        return self._listing[1]

    @cached_property
    def _sorted_files(self) -> list[str]:
        return sorted(self.files)

    @cached_property
    def _directories(self) -> dict[str, list[str]]:
        """The directories that hold a file of their own, by the name of the file."""
        found: dict[str, list[str]] = {}
        for path in sorted(self.own_files):
            directory, _, name = path.rpartition("/")
            found.setdefault(name, []).append(directory or ".")
        return found

    @cached_property
    def own_files(self) -> frozenset[str]:
        """The files without those of directories that only hold what links above them name.

        A directory below holds nothing of its own where all its files stand, by links of the same
        name, in a directory above.
        """
        files = self.files  # lists the tree, and finds the links
        linked = {target for path, target in self._targets.items() if _is_raised(path, target)}
        if not linked:
            return files
        kept = {parent for path in files - linked for parent in _parents(path)}
        return frozenset(
            path for path in files if path not in linked or path.rpartition("/")[0] in kept
        )

    def directories_with(self, *patterns: str) -> list[str]:
        """Return the directories that hold a file whose name matches one of some patterns.

        Args:
            patterns: Names, or the ends of names after ``*``: ``*.csproj``.
        """
        found: set[str] = set()
        for pattern in patterns:
            if not pattern.startswith("*"):
                found.update(self._directories.get(pattern, ()))
                continue
            for name, directories in self._directories.items():
                if name.endswith(pattern[1:]):
                    found.update(directories)
        return sorted(found)

    @cached_property
    def has_repository(self) -> bool:
        """Whether the project holds its Git repository."""
        return (self._root / ".git" / "HEAD").is_file()

    @cached_property
    def _listing(self) -> tuple[list[str], bool]:
        files: list[str] = []
        has_node_modules = False
        pending = [""]
        while pending:
            prefix = pending.pop()
            try:
                with os.scandir(self._root / prefix) as entries:
                    for entry in entries:
                        path = prefix + entry.name
                        if entry.is_file(follow_symlinks=False):
                            files.append(path)
                        elif entry.is_symlink():
                            if (target := self._target(path)) is not None:
                                self._targets[path] = target
                                files.append(path)
                        elif entry.name in SKIPPED:
                            has_node_modules |= entry.name == "node_modules"
                        elif entry.is_dir(follow_symlinks=False):
                            pending.append(f"{prefix}{entry.name}/")
            except OSError as error:
                raise _unreadable_error(prefix or ".", error) from None
        if self._selected is not None:
            files = [path for path in files if path in self._selected]
        return files, has_node_modules

    def _target(self, path: str) -> str | None:
        """Return the file of the project that a link names; None if there is none."""
        link = self._root / path
        try:
            if not link.is_file():  # the system follows few links, resolve() all of a long chain
                return None
            root, target = self._root.resolve(), link.resolve()
        except (OSError, RuntimeError):  # a loop
            return None
        return target.relative_to(root).as_posix() if target.is_relative_to(root) else None

    def below(self, directory: str) -> "ProjectTree":
        """Return the tree of a directory of the project; its files count as one project.

        Raises:
            InvalidProject: A directory cannot be listed.
        """
        return self if directory == "." else _Below(self, directory)

    def head(self, path: str, limit: int = HEAD_BYTES) -> str:
        """Return the start of a file with undecodable bytes replaced; empty if there is no file.

        Raises:
            InvalidProject: The file cannot be read.
        """
        data = self.read(path, limit) or b""
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16", errors="replace")
        return data.decode("utf-8-sig", errors="replace")

    def text(self, path: str) -> str | None:
        """Return a whole file as text; None if there is no file.

        Raises:
            InvalidProject: It is larger than :data:`MAX_BYTES`, not UTF-8, or cannot be read.
        """
        if path not in self._texts:
            self._texts[path] = self._text(path)
        return self._texts[path]

    def _text(self, path: str) -> str | None:
        data = self.read(path, MAX_BYTES + 1)
        if data is None:
            return None
        if len(data) > MAX_BYTES:
            raise InvalidProject(f"{path} is larger than {MAX_BYTES} bytes: make it smaller")
        self._remaining_bytes -= len(data)
        if self._remaining_bytes < 0:
            raise InvalidProject(
                f"{path} and the manifests before it are larger than {TOTAL_BYTES} bytes "
                "together: validate the project's parts as separate jobs"
            )
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidProject(
                f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8"
            ) from None

    def json(self, path: str) -> dict[str, Any] | None:
        """Return a file's JSON object; None if there is no file.

        Raises:
            InvalidProject: As :meth:`text`, or it is not a JSON object.
        """
        return self._parse(path, json.loads, "a JSON object")

    def toml(self, path: str) -> dict[str, Any] | None:
        """Return a file's TOML document; None if there is no file.

        Raises:
            InvalidProject: As :meth:`text`, or it is not TOML, or too slow to parse.
        """
        return self._parse(path, parse_toml, "TOML")

    def _parse(self, path: str, parse: Callable[[str], Any], kind: str) -> dict[str, Any] | None:
        text = self.text(path)
        if text is None:
            return None
        try:
            value = parse(text)
        except (ValueError, RecursionError) as error:
            raise InvalidProject(f"{path} is not {kind}: {error}; correct the file") from None
        if not isinstance(value, dict):
            raise InvalidProject(f"{path} is not {kind}; correct the file")
        return value

    def read(self, path: str, limit: int) -> bytes | None:
        """Return the start of a file; None if there is no file.

        Raises:
            InvalidProject: The file cannot be read.
        """
        if path not in self.files:
            return None
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in self._targets.get(path, path).split("/"):
                parent = descriptor
                # O_NONBLOCK: a pipe that replaced the file must not hang the worker.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                descriptor = os.open(part, flags, dir_fd=parent)
                os.close(parent)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(limit)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _unreadable_error(path, error) from None
        finally:
            os.close(descriptor)


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _is_raised(link: str, target: str) -> bool:
    """Return whether a link lets a file stand, by its own name, in a directory above it."""
    above, _, name = link.rpartition("/")
    directory, _, target_name = target.rpartition("/")
    return name == target_name and f"{directory}/".startswith(f"{above}/" if above else "")


class _Below(ProjectTree):
    """A directory of a project; it shares the project's bound of bytes."""

    def __init__(self, whole: ProjectTree, directory: str) -> None:
        self._whole = whole
        self._prefix = f"{directory}/"
        self._targets = {}

    @cached_property
    def files(self) -> frozenset[str]:
        paths, prefix = self._whole._sorted_files, self._prefix
        end = bisect_left(paths, f"{prefix[:-1]}{_AFTER_SLASH}")
        own = paths[bisect_left(paths, prefix) : end]
        return frozenset(path.removeprefix(prefix) for path in own)

    def read(self, path: str, limit: int) -> bytes | None:
        return self._whole.read(self._prefix + path, limit)

    def head(self, path: str, limit: int = HEAD_BYTES) -> str:
        return self._whole.head(self._prefix + path, limit)

    def text(self, path: str) -> str | None:
        return self._whole.text(self._prefix + path)

    def json(self, path: str) -> dict[str, Any] | None:
        return self._whole.json(self._prefix + path)

    def toml(self, path: str) -> dict[str, Any] | None:
        return self._whole.toml(self._prefix + path)


def _unreadable_error(path: str, error: OSError) -> InvalidProject:
    return InvalidProject(f"{path!r} of the project cannot be read: {error.strerror}; check it")
