"""Reads and changes files of the local sandbox; no path or link leads out of its root."""

import errno
import functools
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from revalid.jobs.errors import SandboxLost
from revalid.worker.file_trees import matching_files, walk
from revalid.worker.own_files import OURS
from revalid.worker.sandboxes.local import beneath
from revalid.worker.sandboxes.protocol import (
    READ_BYTES,
    WORKDIR,
    Entry,
    StepFailed,
    check_listable,
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
        targets: dict[str, tuple[str, bytes]] = {}
        for path, data in files.items():
            targets[self._writable(operation, path)] = path, data
        for target, (path, _) in targets.items():
            if any(str(parent) in targets for parent in PurePosixPath(target).parents):
                raise StepFailed(
                    f"{operation} {path}: its parent is another of the files; rename one"
                )
        for path, data in targets.values():
            with (
                path_errors(operation, path),
                beneath.locate(self.root, path, create=True) as location,
            ):
                beneath.write_file(location, data, mode)

    def _writable(self, operation: str, path: str) -> str:
        """Return the path that ``path`` leads to, if it may be written."""
        with path_errors(operation, path):
            check_unprotected(operation, path, self._protected, WORKDIR)
            with beneath.locate(self.root, path) as location:
                check_unprotected(operation, location.path, self._protected, WORKDIR)
                _refuse_directory(location)
                return location.path

    def read(self, path: str) -> bytes:
        """Return the bytes of a regular file."""
        with (
            path_errors("read_file", path),
            beneath.locate(self.root, path) as location,
            beneath.opened_file(location) as (descriptor, status),
        ):
            check_readable(path, status.st_size)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(READ_BYTES)

    def delete(self, path: str) -> None:
        """Delete a file; a link is deleted, not its target."""
        with path_errors("delete_file", path):
            check_unprotected("delete_file", path, self._protected, WORKDIR)
            with beneath.locate(self.root, path, follow=False) as location:
                check_unprotected("delete_file", location.path, self._protected, WORKDIR)
                _refuse_directory(location)
                os.unlink(location.existing, dir_fd=location.parent)

    def entries(self, path: str) -> list[Entry]:
        """Return the entries of a directory; a link to a directory is not a directory."""
        with (
            path_errors("list_directory", path),
            beneath.opened_directory(self.root, path) as descriptor,
        ):
            entries, names_size = [], 0
            with os.scandir(descriptor) as scanned:
                for entry in scanned:
                    name = os.fsencode(entry.name).decode("utf-8", "replace")
                    names_size += len(name) + 1
                    check_listable(path, names_size)
                    entries.append(Entry(name, entry.is_dir(follow_symlinks=False)))
            return sorted(entries, key=lambda entry: entry.name)

    def make_directory(self, operation: str, path: str) -> Path:
        """Create a directory if it is missing, and return its host path."""
        with (
            path_errors(operation, path),
            beneath.locate(self.root, path, create=True) as location,
        ):
            beneath.make_directory(location)
            return self.root / location.path.lstrip("/")

    def export(self, path: str, destination: Path) -> None:
        """Copy a directory out of the sandbox."""
        with path_errors("export_directory", path):
            with beneath.opened_directory(self.root, path):
                destination.mkdir(parents=True, exist_ok=True)
            copy_tree("export_directory", (self.root, path), (destination, "/"), None)

    def export_matching(self, globs: tuple[str, ...], destination: Path, most_bytes: int) -> None:
        """Copy files out of the workspace; above ``most_bytes``, a file gets no content."""
        remaining = most_bytes
        with path_errors("export_matching", WORKDIR):
            destination.mkdir(parents=True, exist_ok=True)
            for relative, _, listed in matching_files(self.root / WORKDIR.lstrip("/"), globs):
                with (
                    beneath.locate(self.root, f"{WORKDIR}/{relative}", follow=False) as origin,
                    beneath.opened_file(origin) as (source, status),
                    beneath.locate(destination, f"/{relative}", create=True) as target,
                ):
                    fits = listed.st_size <= remaining
                    remaining -= listed.st_size * fits
                    beneath.copy_file(target, source if fits else None, status)

    def refresh(self, host: Path, path: str, only: tuple[str, ...] | None) -> None:
        """Copy a directory of the worker into the sandbox."""
        with path_errors("refresh_from_host", str(host)):
            if not host.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "is not a directory on this worker")
            self.make_directory("refresh_from_host", path)
            copy_tree("refresh_from_host", (host, "/"), (self.root, path), only)


def copy_tree(
    operation: str,
    source: tuple[Path, str],
    destination: tuple[Path, str],
    only: tuple[str, ...] | None,
) -> None:
    """Copy files and links over a directory; no link is followed out of either directory.

    Sockets, pipes and devices are left out: they have no content.

    Args:
        source: A root, and a directory below it.
    """
    # All paths are listed before the first copy: the destination may be below the source.
    if only is None:
        with path_errors(operation, "/"), beneath.locate(*source) as location:
            top = source[0] / location.path.lstrip("/")
            paths = [f"/{path}" for path, _ in walk(top, strict=True)]
    else:
        paths = [resolve("/", path) for path in only]
    for path in paths:
        with (
            path_errors(operation, path),
            beneath.locate(source[0], source[1] + path, follow=False) as origin,
        ):
            mode = origin.status.st_mode
            if stat.S_ISDIR(mode) and only is not None:
                raise IsADirectoryError(errno.EISDIR, "is a directory; name its files")
            into = destination[1] + path
            with beneath.locate(
                destination[0], into, follow=stat.S_ISDIR(mode), create=True
            ) as target:
                if stat.S_ISDIR(mode):
                    beneath.make_directory(target)
                elif stat.S_ISLNK(mode):
                    beneath.create_link(target, os.readlink(origin.existing, dir_fd=origin.parent))
                elif stat.S_ISREG(mode):
                    with beneath.opened_file(origin) as (descriptor, status):
                        beneath.copy_file(target, descriptor, status)


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


def _refuse_directory(location: beneath.Location) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(location.status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")


@functools.cache
def _copies_by_reference() -> bool:
    if shutil.which("cp") is None:
        return False
    process = subprocess.run(["cp", "--help"], stdin=subprocess.DEVNULL, capture_output=True)
    return b"--reflink" in process.stdout + process.stderr


@contextmanager
def path_errors(operation: str, path: str) -> Iterator[None]:
    """Raise errors that name the operation and path, as the job's fault or the worker's."""
    try:
        yield
    except beneath.LinkOutside:
        raise StepFailed(
            f"{operation} {path}: a link on the way leads outside; use a path without it"
        ) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, OSError) and error.errno in OURS:
            raise SandboxLost(
                f"{operation} {path}: {reason}; check the worker's disk and its open-file limit"
            ) from error
        raise StepFailed(f"{operation} {path}: {reason}; check the path and its parents") from error
