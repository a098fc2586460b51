"""Files of the local sandbox: every path is resolved below a root, and no link leads out of it."""

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
from revalid.worker.run.artifacts import matching
from revalid.worker.sandboxes.protocol import (
    WORKDIR,
    Entry,
    StepFailed,
    check_readable,
    check_unprotected,
    resolve,
)


class Files:
    """The blocking file operations on one root; paths are absolute and normalised.

    Raises:
        StepFailed: From every operation: it cannot be done on these files.
        SandboxLost: From every operation: the worker's disk or its limits failed.
    """

    def __init__(self, root: Path, protected: tuple[str, ...]) -> None:
        self.root = Path(os.path.realpath(root))
        self._protected = protected

    def write(self, operation: str, files: Mapping[str, bytes], mode: int = 0o644) -> None:
        """Write all, or none where one is refused."""
        targets = {self._writable(operation, path): (path, data) for path, data in files.items()}
        for target, (path, _) in targets.items():
            if any(parent in targets for parent in target.parents):
                raise StepFailed(f"{operation} {path}: one of its parents is another of the files")
        for target, (path, data) in targets.items():
            with _reported(operation, path):
                target.parent.mkdir(parents=True, exist_ok=True)
                _place(target, functools.partial(_fill, data, mode))

    def _writable(self, operation: str, path: str) -> Path:
        with _reported(operation, path):
            check_unprotected(operation, path, self._protected, WORKDIR)
            target = _below(self.root, path, operation)
            behind = "/" + target.relative_to(self.root).as_posix()
            check_unprotected(operation, behind, self._protected, WORKDIR)
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            if not next(parent for parent in target.parents if parent.exists()).is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "one of its parents is a file")
        return target

    def read(self, path: str) -> bytes:
        """The bytes of a regular file."""
        with _reported("read_file", path):
            target = _below(self.root, path, "read_file")
            found = target.stat()
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "is not a regular file")
            check_readable(path, found.st_size)
            return target.read_bytes()

    def delete(self, path: str) -> None:
        """Delete a file, or a link itself."""
        with _reported("delete_file", path):
            check_unprotected("delete_file", path, self._protected, WORKDIR)
            target = _beside(self.root, path, "delete_file")
            behind = "/" + target.relative_to(self.root).as_posix()
            check_unprotected("delete_file", behind, self._protected, WORKDIR)
            if stat.S_ISDIR(target.lstat().st_mode):
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            target.unlink()

    def entries(self, path: str) -> list[Entry]:
        """The names in a directory; a link to a directory is no directory."""
        with _reported("list_directory", path):
            with os.scandir(_below(self.root, path, "list_directory")) as found:
                entries = [
                    Entry(
                        os.fsencode(entry.name).decode("utf-8", "replace"),
                        entry.is_dir(follow_symlinks=False),
                    )
                    for entry in found
                ]
            return sorted(entries, key=lambda entry: entry.name)

    def make_directory(self, operation: str, path: str) -> Path:
        """The host path of a directory, made if missing."""
        with _reported(operation, path):
            target = _below(self.root, path, operation)
            target.mkdir(parents=True, exist_ok=True)
            return target

    def export(self, path: str, destination: Path) -> None:
        """Copy a directory out."""
        with _reported("export_directory", path):
            source = _below(self.root, path, "export_directory")
            if not source.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "is no directory")
            destination.mkdir(parents=True, exist_ok=True)
            copy_tree("export_directory", source, Path(os.path.realpath(destination)), None)

    def export_matching(self, globs: tuple[str, ...], destination: Path, most_bytes: int) -> None:
        """Copy files of the workspace out; one without room gets its size and no content."""
        left = most_bytes
        with _reported("export_matching", WORKDIR):
            for relative, path, found in matching(self.root / WORKDIR.lstrip("/"), globs):
                target = destination / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                if found.st_size > left:
                    target.touch()
                    os.truncate(target, found.st_size)
                    continue
                left -= found.st_size
                shutil.copy(path, target, follow_symlinks=False)

    def refresh(self, host: Path, path: str, only: tuple[str, ...] | None) -> None:
        """Copy a directory of the host in."""
        with _reported("refresh_from_host", str(host)):
            if not host.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "is no directory on this worker")
            target = self.make_directory("refresh_from_host", path)
            copy_tree("refresh_from_host", Path(os.path.realpath(host)), target, only)


def copy_tree(
    operation: str, source: Path, destination: Path, only: tuple[str, ...] | None
) -> None:
    """Copy files and links over a directory; neither side's links are followed out of it.

    Sockets, pipes and devices are left out: they have no content.
    """
    # Listed before the first copy: the destination may lie below the source.
    if only is None:
        with _reported(operation, "/"):
            paths = [f"/{path}" for path, _ in walk(source, strict=True)]
    else:
        paths = [resolve("/", each) for each in only]
    for path in paths:
        with _reported(operation, path):
            origin = _beside(source, path, operation)
            mode = origin.lstat().st_mode
            if stat.S_ISDIR(mode) and only is not None:
                raise IsADirectoryError(errno.EISDIR, "is a directory; name its files")
            if stat.S_ISDIR(mode):
                _below(destination, path, operation).mkdir(parents=True, exist_ok=True)
                continue
            target = _beside(destination, path, operation)
            target.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISLNK(mode):
                _place(target, functools.partial(os.symlink, origin.readlink()))
            elif stat.S_ISREG(mode):
                _place(target, functools.partial(shutil.copy2, origin, follow_symlinks=False))


def clone(sources: tuple[Path, ...], destinations: tuple[Path, ...]) -> None:
    """Copy whole directories as they are, sharing blocks where the file system can.

    Raises:
        SandboxLost: A file could not be read, or the disk is full.
    """
    try:
        for source, destination in zip(sources, destinations, strict=True):
            if _copies_by_reference():
                done = subprocess.run(
                    ["cp", "-a", "--reflink=auto", f"{source}/.", f"{destination}/"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                )
                if done.returncode:
                    raise OSError(done.stderr.decode(errors="replace").strip())
            else:
                shutil.copytree(source, destination, symlinks=True, dirs_exist_ok=True)
    except OSError as error:
        raise SandboxLost(
            f"fork: the sandbox's files could not be copied: {str(error)[-500:]}; "
            "free disk space on the worker, or make them readable"
        ) from error


def _below(root: Path, path: str, operation: str) -> Path:
    """The host path behind ``path``, all links resolved."""
    real = Path(os.path.realpath(f"{root}{path}"))
    if not real.is_relative_to(root):
        raise StepFailed(
            f"{operation} {path}: a link on the way leads outside; use a path without it"
        )
    return real


def _beside(root: Path, path: str, operation: str) -> Path:
    """As :func:`_below`, but the last name may be a link: it is meant itself."""
    parent, _, name = path.rpartition("/")
    return _below(root, parent or "/", operation) / name


def _place(target: Path, fill: Callable[[Path], object]) -> None:
    """Make ``target`` whole or not at all; a link in its place is replaced, not followed."""
    temporary = target.parent / f".revalid-{secrets.token_hex(8)}"
    try:
        fill(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _fill(data: bytes, mode: int, path: Path) -> None:
    path.write_bytes(data)
    path.chmod(mode)


@functools.cache
def _copies_by_reference() -> bool:
    if shutil.which("cp") is None:
        return False
    shown = subprocess.run(["cp", "--help"], stdin=subprocess.DEVNULL, capture_output=True)
    return b"--reflink" in shown.stdout + shown.stderr


@contextmanager
def _reported(operation: str, path: str) -> Iterator[None]:
    """Say which operation on which path failed, and whose fault it is."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, OSError) and error.errno in OURS:
            raise SandboxLost(
                f"{operation} {path}: {reason}; check the worker's disk and its open-file limit"
            ) from error
        raise StepFailed(f"{operation} {path}: {reason}; check the path and its parents") from error
