"""Packs an overlay: the trusted files that are laid over a project before each check."""

import os
from pathlib import Path
from typing import BinaryIO

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects import tarball


def pack_overlay(root: Path, out: BinaryIO, bounds: tarball.Bounds) -> None:
    """Pack a directory of trusted files as :func:`.tarball.pack` packs a project.

    Raises:
        InvalidProject: It is not a directory, unreadable or too large, holds something other than
            files and directories, or an ignore rule leaves out one of its files.
    """
    if not root.is_dir():
        raise InvalidProject(f"overlay {root}: no such directory; give a directory of files")
    try:
        left_out = tarball.pack(root, out, bounds).left_out
    except InvalidProject as error:
        raise InvalidProject(f"overlay {root}: {error}") from None
    if left_out:
        raise InvalidProject(
            f"overlay {root}: {left_out[0].path} is left out by {left_out[0].rule}; "
            "remove that rule or the file"
        )
    check_overlay(root)


def check_overlay(root: Path) -> tuple[str, ...]:
    """Return the relative paths of an overlay's files, sorted.

    Raises:
        InvalidProject: It holds no file, or something other than files and directories.
    """
    files = []
    for directory, names, file_names in os.walk(root):
        for name in (*names, *file_names):
            path = Path(directory, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise InvalidProject(
                    f"overlay {relative!r}: a link or a special file: replace it with a copy"
                )
            if "\n" in relative:
                raise InvalidProject(f"overlay {relative!r}: its name has a line break: rename it")
            if name in file_names:
                files.append(relative)
    if not files:
        raise InvalidProject("overlay: it has no file: put the trusted tests into it")
    return tuple(sorted(files))
