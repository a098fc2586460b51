"""Reads and changes files of the local sandbox; no path or link leads out of its root."""

import errno
import functools
import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from revalid.jobs.errors import SandboxLost
from revalid.worker.file_trees import walk
from revalid.worker.own_files import OURS
from revalid.worker.run.artifacts import matching_files
from revalid.worker.sandboxes.protocol import (
    WORKDIR,
    Entry,
    StepFailed,
    check_readable,
    check_unprotected,
    resolve,
)


class Files:
    """Blocking file operations on one root; paths are absolute and normalised.

    Every operation raises :class:`StepFailed` if it fails on these files, and :class:`SandboxLost`
    if the worker's disk or one of its limits is the reason.
    """

    def __init__(self, root: Path, protected: tuple[str, ...]) -> None:
        self.root = Path(os.path.realpath(root))
        self._protected = protected

    def write(self, operation: str, files: Mapping[str, bytes], mode: int = 0o644) -> None:
        """Write all files; if one is refused, write none."""
        targets = {self._writable(operation, path): (path, data) for path, data in files.items()}
        for target, (path, _) in targets.items():
            if any(parent in targets for parent in target.parents):
                raise StepFailed(
                    f"{operation} {path}: its parent is another of the files; rename one"
                )
        for target, (path, data) in targets.items():
            with _path_errors(operation, path):
                target.parent.mkdir(parents=True, exist_ok=True)
                _replace(target, functools.partial(_write_new, data, mode))

    def _writable(self, operation: str, path: str) -> Path:
        with _path_errors(operation, path):
            check_unprotected(operation, path, self._protected, WORKDIR)
            target = _resolve_below(self.root, path, operation)
            real_path = "/" + target.relative_to(self.root).as_posix()
            check_unprotected(operation, real_path, self._protected, WORKDIR)
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            if not next(parent for parent in target.parents if parent.exists()).is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "one of its parents is a file")
        return target

    def read(self, path: str) -> bytes:
        """Return the bytes of a regular file."""
        with _path_errors("read_file", path):
            target = _resolve_below(self.root, path, "read_file")
            status = target.stat()
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file")
            check_readable(path, status.st_size)
            return target.read_bytes()

    def delete(self, path: str) -> None:
        """Delete a file; a link is deleted, not its target."""
        with _path_errors("delete_file", path):
            check_unprotected("delete_file", path, self._protected, WORKDIR)
            target = _resolve_parent(self.root, path, "delete_file")
            real_path = "/" + target.relative_to(self.root).as_posix()
            check_unprotected("delete_file", real_path, self._protected, WORKDIR)
            if stat.S_ISDIR(target.lstat().st_mode):
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            target.unlink()

    def entries(self, path: str) -> list[Entry]:
        """Return the entries of a directory; a link to a directory is not a directory."""
        with _path_errors("list_directory", path):
            with os.scandir(_resolve_below(self.root, path, "list_directory")) as scanned:
                entries = [
                    Entry(
                        os.fsencode(entry.name).decode("utf-8", "replace"),
                        entry.is_dir(follow_symlinks=False),
                    )
                    for entry in scanned
                ]
            return sorted(entries, key=lambda entry: entry.name)

    def make_directory(self, operation: str, path: str) -> Path:
        """Create a directory if it is missing, and return its host path."""
        with _path_errors(operation, path):
            target = _resolve_below(self.root, path, operation)
            target.mkdir(parents=True, exist_ok=True)
            return target

    def export(self, path: str, destination: Path) -> None:
        """Copy a directory out of the sandbox."""
        with _path_errors("export_directory", path):
            source = _resolve_below(self.root, path, "export_directory")
            if not source.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "is not a directory")
            destination.mkdir(parents=True, exist_ok=True)
            copy_tree("export_directory", source, Path(os.path.realpath(destination)), None)

    def export_matching(self, globs: tuple[str, ...], destination: Path, most_bytes: int) -> None:
        """Copy files out of the workspace; above ``most_bytes``, a file gets no content."""
        remaining = most_bytes
        with _path_errors("export_matching", WORKDIR):
            for relative, path, status in matching_files(self.root / WORKDIR.lstrip("/"), globs):
                target = destination / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                if status.st_size > remaining:
                    target.touch()
                    os.truncate(target, status.st_size)
                    continue
                remaining -= status.st_size
                shutil.copy(path, target, follow_symlinks=False)

    def refresh(self, host: Path, path: str, only: tuple[str, ...] | None) -> None:
        """Copy a directory of the worker into the sandbox."""
        with _path_errors("refresh_from_host", str(host)):
            if not host.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "is not a directory on this worker")
            target = self.make_directory("refresh_from_host", path)
            copy_tree("refresh_from_host", Path(os.path.realpath(host)), target, only)


def copy_tree(
    operation: str, source: Path, destination: Path, only: tuple[str, ...] | None
) -> None:
    """Copy files and links over a directory; no link is followed out of either directory.

    Sockets, pipes and devices are left out: they have no content.
    """
    # All paths are listed before the first copy: the destination may be below the source.
    if only is None:
        with _path_errors(operation, "/"):
            paths = [f"/{path}" for path, _ in walk(source, strict=True)]
    else:
        paths = [resolve("/", path) for path in only]
    for path in paths:
        with _path_errors(operation, path):
            origin = _resolve_parent(source, path, operation)
            mode = origin.lstat().st_mode
            if stat.S_ISDIR(mode) and only is not None:
                raise IsADirectoryError(errno.EISDIR, "is a directory; name its files")
            if stat.S_ISDIR(mode):
                _resolve_below(destination, path, operation).mkdir(parents=True, exist_ok=True)
                continue
            target = _resolve_parent(destination, path, operation)
            target.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISLNK(mode):
                _replace(target, functools.partial(os.symlink, origin.readlink()))
            elif stat.S_ISREG(mode):
                _replace(target, functools.partial(shutil.copy2, origin, follow_symlinks=False))


def clone(sources: tuple[Path, ...], destinations: tuple[Path, ...]) -> None:
    """Copy whole directories unchanged, with shared blocks if the file system supports them.

    Raises:
        SandboxLost: A file could not be read, or the disk is full.
    """
    try:
        for source, destination in zip(sources, destinations, strict=True):
            if _copies_by_reference():
                process = subprocess.run(
                    ["cp", "-a", "--reflink=auto", f"{source}/.", f"{destination}/"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                )
                if process.returncode:
                    raise OSError(process.stderr.decode(errors="replace").strip())
            else:
                shutil.copytree(source, destination, symlinks=True, dirs_exist_ok=True)
    except OSError as error:
        raise SandboxLost(
            f"fork: the sandbox's files could not be copied: {str(error)[-500:]}; "
            "free disk space on the worker, or make the files readable"
        ) from error


def _resolve_below(root: Path, path: str, operation: str) -> Path:
    """Return the host path of ``path`` with all links resolved.

    Raises:
        StepFailed: It is outside ``root``.
    """
    real = Path(os.path.realpath(f"{root}{path}"))
    if not real.is_relative_to(root):
        raise StepFailed(
            f"{operation} {path}: a link on the way leads outside; use a path without it"
        )
    return real


def _resolve_parent(root: Path, path: str, operation: str) -> Path:
    """As :func:`_resolve_below`, but the last name is not resolved: it may be a link."""
    parent, _, name = path.rpartition("/")
    return _resolve_below(root, parent or "/", operation) / name


def _replace(target: Path, fill: Callable[[Path], object]) -> None:
    """Create ``target`` completely or not at all; a link there is replaced, not followed."""
    temporary = target.parent / f".revalid-{secrets.token_hex(8)}"
    try:
        fill(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_new(data: bytes, mode: int, path: Path) -> None:
    path.write_bytes(data)
    path.chmod(mode)


@functools.cache
def _copies_by_reference() -> bool:
    if shutil.which("cp") is None:
        return False
    process = subprocess.run(["cp", "--help"], stdin=subprocess.DEVNULL, capture_output=True)
    return b"--reflink" in process.stdout + process.stderr


@contextmanager
def _path_errors(operation: str, path: str) -> Iterator[None]:
    """Raise errors that name the operation and path, as the job's fault or the worker's."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, OSError) and error.errno in OURS:
            raise SandboxLost(
                f"{operation} {path}: {reason}; check the worker's disk and its open-file limit"
            ) from error
        raise StepFailed(f"{operation} {path}: {reason}; check the path and its parents") from error
