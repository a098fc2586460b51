"""Stages files in a directory that the engine uploads in one operation."""

import posixpath
from collections.abc import Mapping
from pathlib import Path

from revalid.worker.sandboxes.protocol import StepFailed


def stage(staged: Path, root: str, targets: Mapping[str, bytes], mode: int) -> None:
    """Write files below ``staged`` with the paths that they will have below ``root``.

    Raises:
        FileExistsError, NotADirectoryError: One target is a parent of another.
    """
    for target, content in targets.items():
        file = staged / posixpath.relpath(target, root)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)


def file_names(root: Path) -> list[str]:
    """Return the relative paths of all files below a directory, sorted."""
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()
    )


def included(host_path: Path, only: tuple[str, ...] | None) -> list[str] | None:
    """Return the patterns of the files to upload from a directory; None for all files.

    Raises:
        StepFailed: ``host_path`` is not a directory, or a path leaves it.
    """
    if not host_path.is_dir():
        raise StepFailed(f"refresh_from_host {host_path}: no such directory on the worker")
    if any(".." in name.split("/") for name in only or ()):
        raise StepFailed(f"refresh_from_host {host_path}: '..' would leave the directory")
    return None if only is None else [literal(name) for name in only]


def as_bytes(content: str | bytes) -> bytes:
    """Return ``content`` as bytes; text is encoded as UTF-8."""
    return content.encode() if isinstance(content, str) else content


def literal(name: str) -> str:
    """Return a pattern that matches exactly this file name."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in name)
