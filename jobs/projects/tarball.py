"""Packs projects reproducibly, and checks and unpacks untrusted archives."""

import errno
import gzip
import hashlib
import os
import posixpath
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path
from typing import Any, BinaryIO

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.git_checkout import asks_for_git, copy_repository
from revalid.jobs.projects.ignore import Selection, is_file_attributes
from revalid.jobs.projects.tar_reader import Reader, TooMuch
from revalid.jobs.projects.zip_reader import MAGIC, ZipReader
from revalid.jobs.source import LeftOut

KEPT = {"revalid.toml": 1 << 16, "pyproject.toml": 1 << 17, "package.json": 1 << 20}
"""The files that may hold a project's configuration, and how many bytes of each are read."""
MAX_DEPTH = 100
"""Most names in one path."""
_MTIME = 499_162_500  # 1985-10-26, as npm packs: zip tools refuse 1970
_MAX_RATIO = 200
_RATIO_FROM_BYTES = 64 * 2**20
_TARGET_BYTES = 4_096
_REFUSED = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""Errors of a file system that rejects a name; other errors are our own fault."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most files and bytes of a project."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The content of a project.

    Attributes:
        files: Number of files, links and directories.
        size_bytes: Unpacked bytes.
        left_out: What was not packed.
        kept: The starts of the files that may hold the project's configuration, by name.
    """

    files: int
    size_bytes: int
    left_out: tuple[LeftOut, ...] = ()
    kept: Mapping[str, bytes] = field(default_factory=dict, compare=False)


class _Paths:
    """The paths of a project, as a tree, so that a long common path is stored once.

    Attributes:
        count: Number of files, links and directories, implied directories included.
    """

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self.count = 0

    def add(self, info: tarfile.TarInfo) -> None:
        """Add a path; a file or link that occurs twice is the last one, as tar unpacks it.

        Raises:
            InvalidProject: The path leads out of the project, lies below a file, or is a directory
                and something else.
        """
        *parents, last = _parts(info.name)
        directory = self._root
        for name in parents:
            if name not in directory:
                directory[name] = {}
                self.count += 1
            directory = directory[name]
            if not isinstance(directory, dict):
                raise InvalidProject(
                    f"archive entry {_shown(info.name)} lies below a file or link: refused"
                )
        if last not in directory:
            self.count += 1
        elif info.isdir() != isinstance(directory[last], dict):
            raise InvalidProject(
                f"archive entry {_shown(info.name)} is a directory and something else: refused"
            )
        if not info.isdir():
            directory[last] = info.isreg()
        else:
            directory.setdefault(last, {})

    def has_file(self, path: str) -> bool:
        """Return whether a regular file has this path."""
        entry: Any = self._root
        for name in path.split("/"):
            entry = entry.get(name) if isinstance(entry, dict) else None
        return entry is True


@contextmanager
def writing(out: BinaryIO) -> Iterator[tarfile.TarFile]:
    """Open a gzipped tarball for writing; equal members in equal order give equal bytes."""
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=4, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        yield tar


def pack(root: Path, out: BinaryIO, bounds: Bounds) -> Summary:
    """Pack a directory, sorted and without owners or times: equal trees give equal bytes.

    Of a Git checkout whose files ask for Git, a small copy of the repository is packed too.

    Raises:
        InvalidProject: It is not a directory, unreadable or too large, or a link leads out of it.
    """
    if not root.is_dir():
        raise InvalidProject(f"project {root}: no such directory; give a directory or a tarball")
    selection = Selection(root)
    with writing(out) as tar, tempfile.TemporaryDirectory(prefix="revalid-git-") as temporary:
        packing = _Packing(tar, bounds)
        wants_git = False
        repository = (root / ".git").exists()
        for relative, path, status in selection.entries():
            packing.add(relative, path, status)
            wants_git = wants_git or (repository and asks_for_git(relative, path))
        if not packing.files:
            raise InvalidProject(f"project {root}: it has no files besides ignored ones")
        if wants_git and (copied := copy_repository(root, Path(temporary))) is not None:
            for path in (copied, *sorted(copied.rglob("*"))):
                packing.add(str(path.relative_to(temporary)), path, path.lstat())
    left_out = tuple(selection.left_out)
    return Summary(packing.files, packing.size, left_out=left_out, kept=packing.kept)


class _Packing:
    """The members of a tarball that is written, and what they amount to."""

    def __init__(self, tar: tarfile.TarFile, bounds: Bounds) -> None:
        self.files = self.size = 0
        self._tar = tar
        self._bounds = bounds
        self._paths = _Paths()
        self.kept: dict[str, bytes] = {}

    def add(self, relative: str, path: Path, status: os.stat_result) -> None:
        """Add a file, a link or a directory without its content.

        Raises:
            InvalidProject: It is unreadable, a bound is reached, or a link leads out.
        """
        info = tarfile.TarInfo(relative)
        info.mtime = _MTIME
        self.files += 1
        if stat.S_ISDIR(status.st_mode):
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._paths.add(info)
        if stat.S_ISREG(status.st_mode):
            info.size = status.st_size
            info.mode = 0o755 if status.st_mode & 0o100 else 0o644
            self.size += info.size
            _check_bounds(self._paths.count, self.size, self._bounds)
            _add_file(self._tar, info, path)
            if relative in KEPT:
                with path.open("rb") as file:
                    self.kept[relative] = file.read(KEPT[relative] + 1)
            return
        _check_bounds(self._paths.count, self.size, self._bounds)
        if stat.S_ISLNK(status.st_mode):
            info.type, info.mode = tarfile.SYMTYPE, 0o777
            info.linkname = str(path.readlink())
            _check_target(info)
            _check_link(info)
        self._tar.addfile(info)


def check(file: BinaryIO, bounds: Bounds) -> Summary:
    """Read a whole archive, and refuse it if unpacking could do harm.

    Raises:
        InvalidProject: It is unreadable, truncated or too large, or an entry is unsafe.
    """
    return _read(file, bounds, None)


def unpack(file: BinaryIO, into: Path, bounds: Bounds) -> Summary:
    """Unpack an archive into an empty directory; it refuses whatever :func:`check` refuses.

    Raises:
        InvalidProject: As :func:`check`; ``into`` may then hold some of the files.
    """
    return _read(file, bounds, into)


def repack(file: BinaryIO, out: BinaryIO, bounds: Bounds) -> Summary:
    """Pack what an archive holds as :func:`pack` packs the directory that it was made of.

    Raises:
        InvalidProject: As :func:`check` and :func:`pack`.
    """
    with opened(file, bounds) as root:
        return pack(root, out, bounds)


@contextmanager
def opened(file: BinaryIO, bounds: Bounds) -> Iterator[Path]:
    """Unpack an archive that somebody made; yield the project's directory, and delete it.

    Links may lead out of it, as those of a virtual environment do: :func:`pack` judges them. An
    archive of one directory is an archive of its content.

    Raises:
        InvalidProject: As :func:`check`.
    """
    with tempfile.TemporaryDirectory(prefix="revalid-archive-") as temporary:
        root = Path(temporary) / "project"
        root.mkdir()
        _read(file, bounds, root, links_out=True)
        tops = [top for top in root.iterdir() if not is_file_attributes(top)]
        if len(tops) == 1 and tops[0].is_dir() and not tops[0].is_symlink():
            root = tops[0]
        try:
            yield root
        except InvalidProject as error:
            shown = str(error).replace(f"project {root}", "the archive").replace(f"{root}/", "")
            raise InvalidProject(shown) from None


def digest(file: BinaryIO) -> str:
    """Return the sha256 of a file, in hex; the file is then at its start."""
    file.seek(0)
    sha = hashlib.sha256()
    while chunk := file.read(1 << 20):
        sha.update(chunk)
    file.seek(0)
    return sha.hexdigest()


def _read(file: BinaryIO, bounds: Bounds, into: Path | None, *, links_out: bool = False) -> Summary:
    paths = _Paths()
    packed = file.seek(0, os.SEEK_END)
    count = size = 0
    try:
        reader = _reader(file, max(_RATIO_FROM_BYTES, packed * _MAX_RATIO), bounds.files)
        for info in reader:
            info.name = posixpath.normpath(info.name) if info.name else ""
            if info.name == "." and info.isdir():
                continue
            _check_member(info, paths, links_out=links_out)
            count, size = count + 1, size + info.size
            _check_bounds(paths.count, size, bounds)
            reader.check_room()
            if into is not None:
                _extract(info, reader, into / info.name, into)
    except TooMuch:
        raise InvalidProject(
            f"the archive unpacks to more than {_MAX_RATIO} times its size: refused"
        ) from None
    except tarfile.TarError as error:
        why = " ".join(str(error).split())
        raise InvalidProject(
            f"the archive cannot be read ({why}): give a .tar, .tar.gz, .tar.bz2, .tar.xz, "
            ".tar.zst or .zip"
        ) from None
    if not count:
        raise InvalidProject("the archive is empty: pack the project's files into it")
    return Summary(count, size)


def _reader(file: BinaryIO, most: int, members: int) -> Reader | ZipReader:
    file.seek(0)
    kind = ZipReader if file.read(4) in MAGIC else Reader
    return kind(file, most, members)


def _extract(info: tarfile.TarInfo, reader: Reader | ZipReader, path: Path, into: Path) -> None:
    """Write a checked member: its parents are directories, and at its path is no directory."""
    try:
        if info.isdir():
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if info.islnk() and path == into / posixpath.normpath(info.linkname):
            return
        path.unlink(missing_ok=True)
        if info.issym():
            path.symlink_to(info.linkname)
        elif info.islnk():
            path.hardlink_to(into / posixpath.normpath(info.linkname))
        else:
            with path.open("xb") as out:
                for chunk in reader.data():
                    out.write(chunk)
            path.chmod(0o600 | info.mode & (0o755 if info.mode & 0o100 else 0o644))
            os.utime(path, (info.mtime, info.mtime))
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise InvalidProject(
            f"archive entry {_shown(info.name)}: {error.strerror}; rename it"
        ) from None


def _parts(name: str) -> list[str]:
    """Split a path into names.

    Raises:
        InvalidProject: The path leads out of the project, or is too long.
    """
    parts = name.split("/")
    if name.startswith("/") or parts[0] == ".." or "\0" in name or name in ("", "."):
        raise InvalidProject(f"archive entry {_shown(name)} lies outside the project: refused")
    if len(name) > 1024 or any(len(os.fsencode(part)) > 255 for part in parts):
        raise InvalidProject(f"archive entry {_shown(name)}: the name is too long")
    if len(parts) > MAX_DEPTH:
        raise InvalidProject(f"archive entry {_shown(name)} lies over {MAX_DEPTH} levels deep")
    return parts


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def _check_member(info: tarfile.TarInfo, paths: _Paths, *, links_out: bool) -> None:
    if info.issym():
        _parts(info.name)
        _check_target(info)
        if not links_out:
            _check_link(info)
    elif info.islnk():
        if not paths.has_file(posixpath.normpath(info.linkname)):
            raise InvalidProject(f"archive entry {_shown(info.name)}: hard link to no earlier file")
    elif not (info.isreg() or info.isdir()):
        raise InvalidProject(f"archive entry {_shown(info.name)} is a device or pipe: refused")
    paths.add(info)


def _check_target(info: tarfile.TarInfo) -> None:
    if not 0 < len(os.fsencode(info.linkname)) < _TARGET_BYTES or "\0" in info.linkname:
        raise InvalidProject(f"{_shown(info.name)} has an invalid link target: remove it")


def _check_link(info: tarfile.TarInfo) -> None:
    """Check where a link leads; ``..`` after a name is refused: that name may be another link."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(info.name), info.linkname))
    inner = dropwhile(lambda part: part in ("", ".", ".."), info.linkname.split("/"))
    if info.linkname.startswith("/") or target.split("/")[0] == ".." or ".." in inner:
        raise InvalidProject(
            f"{info.name!r} links out of the project, to {info.linkname!r}: "
            "remove the link or put the file itself there"
        )


def _check_bounds(files: int, size: int, bounds: Bounds) -> None:
    if files > bounds.files:
        raise InvalidProject(
            f"the project has more than {bounds.files} files: exclude some by .gitignore, "
            "or raise REVALID_PROJECT_FILES"
        )
    if size > bounds.bytes:
        raise InvalidProject(
            f"the project has more than {bounds.bytes} bytes: exclude some by .gitignore, "
            "or raise REVALID_PROJECT_BYTES"
        )


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    try:
        with path.open("rb") as file:
            tar.addfile(info, file)
    except OSError as error:
        raise InvalidProject(
            f"{path}: {error.strerror or error}; make it readable, or exclude it by .gitignore"
        ) from None
