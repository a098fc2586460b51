"""Reads a hostile project: regular files inside it, never through a link, never without a cap."""

import errno
import json
import os
import stat
import tomllib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from revalid.jobs.errors import InvalidProject

MAX_BYTES = 1 << 20
TOTAL_BYTES = 4 << 20
"""Of all files that are read whole: what they hold takes some thirty times as much memory."""
HEAD_BYTES = 4096
TOML_BYTES = 1 << 17
TOML_LINE_DOTS = 500
SKIPPED = frozenset({".git", "node_modules"})
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class ProjectTree:
    """A project directory.

    Every path is relative to it, with ``/``. A link, a device or a missing file is no file.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._texts: dict[str, str | None] = {}
        self._left = TOTAL_BYTES

    @cached_property
    def files(self) -> frozenset[str]:
        """Every regular file outside ``.git`` and ``node_modules``.

        Raises:
            InvalidProject: A directory cannot be listed.
        """
        return frozenset(self._walked[0])

    @cached_property
    def has_node_modules(self) -> bool:
        """Whether the project brings installed packages with it."""
        return self._walked[1]

    @cached_property
    def _walked(self) -> tuple[list[str], bool]:
        files: list[str] = []
        brought = False
        pending = [""]
        while pending:
            prefix = pending.pop()
            try:
                with os.scandir(self._root / prefix) as entries:
                    for entry in entries:
                        if entry.is_file(follow_symlinks=False):
                            files.append(prefix + entry.name)
                        elif entry.name in SKIPPED:
                            brought |= entry.name == "node_modules"
                        elif entry.is_dir(follow_symlinks=False):
                            pending.append(f"{prefix}{entry.name}/")
            except OSError as error:
                raise _unreadable(prefix or ".", error) from None
        return files, brought

    def head(self, path: str, limit: int = HEAD_BYTES) -> str:
        """The start of a file, undecodable bytes replaced; empty where there is no file.

        Raises:
            InvalidProject: The file cannot be read.
        """
        return (self._read(path, limit) or b"").decode(errors="replace")

    def text(self, path: str) -> str | None:
        """A whole file; None where there is none.

        Raises:
            InvalidProject: It is larger than :data:`MAX_BYTES`, not UTF-8, or cannot be read.
        """
        if path not in self._texts:
            self._texts[path] = self._text(path)
        return self._texts[path]

    def _text(self, path: str) -> str | None:
        data = self._read(path, MAX_BYTES + 1)
        if data is None:
            return None
        if len(data) > MAX_BYTES:
            raise InvalidProject(f"{path} is larger than {MAX_BYTES} bytes: make it smaller")
        self._left -= len(data)
        if self._left < 0:
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
        """A JSON object; None where there is no file.

        Raises:
            InvalidProject: As :meth:`text`, or it is not a JSON object.
        """
        return self._parsed(path, json.loads, "a JSON object")

    def toml(self, path: str) -> dict[str, Any] | None:
        """A TOML document; None where there is no file.

        Raises:
            InvalidProject: As :meth:`text`, or it is not TOML, or too slow to parse.
        """
        # tomllib takes time with the square of a dotted key's length: minutes for 100 KB.
        text = self.head(path, TOML_BYTES + 1)
        if len(text) > TOML_BYTES or any(n.count(".") > TOML_LINE_DOTS for n in text.splitlines()):
            raise InvalidProject(
                f"{path} is larger than {TOML_BYTES} bytes or has over {TOML_LINE_DOTS} dots in a "
                "line: make it smaller"
            )
        return self._parsed(path, tomllib.loads, "TOML")

    def _parsed(self, path: str, parse: Callable[[str], Any], kind: str) -> dict[str, Any] | None:
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

    def _read(self, path: str, limit: int) -> bytes | None:
        if path not in self.files:
            return None
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in path.split("/"):
                parent = descriptor
                # O_NONBLOCK: a pipe that took the file's place must not hang the worker.
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
            raise _unreadable(path, error) from None
        finally:
            os.close(descriptor)


def _unreadable(path: str, error: OSError) -> InvalidProject:
    return InvalidProject(f"{path!r} of the project cannot be read: {error.strerror}; check it")
