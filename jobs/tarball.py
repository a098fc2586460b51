"""Project tarballs: packed the same way every time, and never trusted when read.

What is left out of a packed directory: ``node_modules``, version control, virtual environments,
build output and caches (:data:`LEFT_OUT`), then what ``.gitignore`` and ``.dockerignore`` say; a
``!pattern`` there brings a default back.
"""

import gzip
import hashlib
import lzma
import os
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pathspec import GitIgnoreSpec

from jobs.errors import InvalidProject

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
_MTIME = 499_162_500  # 1985-10-26, as npm packs: zip tools refuse 1970
_MAX_RATIO = 200
_RATIO_FROM_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a project may hold."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a project holds: files, their unpacked bytes, and its one top directory if it has one.

    Attributes:
        top: Name of the only top-level entry where that is a directory, else the empty string.
    """

    files: int
    size_bytes: int
    top: str = ""


def pack(root: Path, out: BinaryIO, bounds: Bounds) -> Summary:
    """Pack a directory: sorted, without owners or times, so that equal trees give equal bytes.

    Raises:
        InvalidProject: Not a directory, unreadable, too large, or a link leads out of it.
    """
    if not root.is_dir():
        raise InvalidProject(f"project {root}: no such directory; give a directory or a tarball")
    files = size = 0
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=4, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for relative, path, status in _walk(root):
            info = tarfile.TarInfo(relative)
            info.mtime = _MTIME
            files += 1
            if stat.S_ISREG(status.st_mode):
                info.size = status.st_size
                info.mode = 0o755 if status.st_mode & 0o100 else 0o644
                size += info.size
                _check_bounds(files, size, bounds)
                _add_file(tar, info, path)
                continue
            _check_bounds(files, size, bounds)
            if stat.S_ISDIR(status.st_mode):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.type, info.mode = tarfile.SYMTYPE, 0o777
                info.linkname = str(path.readlink())
                _check_link(info)
            tar.addfile(info)
    if not files:
        raise InvalidProject(f"project {root}: holds no files besides what is left out")
    return Summary(files, size)


def check(file: BinaryIO, bounds: Bounds) -> Summary:
    """Read a whole tarball, and refuse it where unpacking could harm.

    Raises:
        InvalidProject: Unreadable, truncated, too large, or an entry is unsafe.
    """
    return _read(file, bounds, None)


def unpack(file: BinaryIO, into: Path, bounds: Bounds) -> Summary:
    """Unpack a tarball below ``into``, an empty directory; what :func:`check` refuses, this does.

    Raises:
        InvalidProject: As :func:`check`; ``into`` may then hold a part.
    """
    return _read(file, bounds, into)


def digest(file: BinaryIO) -> str:
    """sha256 of a file, in hex; the file is left at its start."""
    file.seek(0)
    sha = hashlib.sha256()
    while chunk := file.read(1 << 20):
        sha.update(chunk)
    file.seek(0)
    return sha.hexdigest()


def _read(file: BinaryIO, bounds: Bounds, into: Path | None) -> Summary:
    kinds: dict[str, bytes] = {}
    tops: dict[str, bool] = {}
    packed = file.seek(0, os.SEEK_END)
    file.seek(0)
    count = size = 0
    try:
        with tarfile.open(fileobj=file, mode="r:*", errorlevel=1) as tar:
            for info in tar:
                info.name = posixpath.normpath(info.name) if info.name else ""
                if info.name == "." and info.isdir():
                    continue
                _check_member(info, kinds)
                kinds[info.name] = info.type
                count, size = count + 1, size + info.size
                _check_bounds(count, size, bounds)
                if size > max(_RATIO_FROM_BYTES, packed * _MAX_RATIO):
                    raise InvalidProject(
                        f"the tarball unpacks to over {_MAX_RATIO} times its size: not unpacked"
                    )
                top, slash, _ = info.name.partition("/")
                tops[top] = tops.get(top, False) or bool(slash) or info.isdir()
                if into is not None:
                    tar.extract(info, into, filter="data")
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise InvalidProject(
            f"the tarball cannot be read ({error}): give a .tar, .tar.gz, .tar.bz2 or .tar.xz"
        ) from None
    if not count:
        raise InvalidProject("the tarball is empty: pack the project's files into it")
    only = next(iter(tops)) if len(tops) == 1 else ""
    return Summary(count, size, only if only and tops[only] else "")


def _check_member(info: tarfile.TarInfo, kinds: dict[str, bytes]) -> None:
    name = info.name
    shown = name if len(name) <= 80 else f"{name[:77]}..."
    parts = name.split("/")
    if name.startswith("/") or parts[0] == ".." or "\0" in name or name in ("", "."):
        raise InvalidProject(f"tarball entry {shown!r} lies outside the project: refused")
    if len(name) > 1024 or any(len(part.encode()) > 255 for part in parts):
        raise InvalidProject(f"tarball entry {shown!r}: the name is too long")
    if name in kinds and not (info.isdir() and kinds[name] == tarfile.DIRTYPE):
        raise InvalidProject(f"tarball entry {shown!r} is there twice: refused")
    for end in range(1, len(parts)):
        parent = kinds.get("/".join(parts[:end]))
        if parent is not None and parent != tarfile.DIRTYPE:
            raise InvalidProject(f"tarball entry {shown!r} lies below a file or link: refused")
    if info.issym():
        _check_link(info)
    elif info.islnk():
        target = kinds.get(posixpath.normpath(info.linkname))
        if target not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise InvalidProject(f"tarball entry {shown!r}: hard link to what is no file before it")
    elif not (info.isreg() or info.isdir()):
        raise InvalidProject(f"tarball entry {shown!r} is a device or pipe: refused")


def _check_link(info: tarfile.TarInfo) -> None:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(info.name), info.linkname))
    if info.linkname.startswith("/") or target == ".." or target.startswith("../"):
        raise InvalidProject(
            f"{info.name} links out of the project, to {info.linkname!r}: "
            "remove the link or put the file itself there"
        )


def _check_bounds(files: int, size: int, bounds: Bounds) -> None:
    if files > bounds.files:
        raise InvalidProject(
            f"the project has over {bounds.files} files: leave some out by .dockerignore, "
            "or raise REVALID_PROJECT_FILES"
        )
    if size > bounds.bytes:
        raise InvalidProject(
            f"the project has over {bounds.bytes} bytes: leave some out by .dockerignore, "
            "or raise REVALID_PROJECT_BYTES"
        )


def _walk(root: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    ignored = GitIgnoreSpec.from_lines(
        [*LEFT_OUT, *_lines(root / ".gitignore"), *map(_anchored, _lines(root / ".dockerignore"))]
    )
    pending: list[tuple[str, tuple[tuple[str, GitIgnoreSpec], ...]]] = [("", (("", ignored),))]
    while pending:
        below, specs = pending.pop()
        try:
            entries = sorted(os.scandir(root / below), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise InvalidProject(f"{root / below}: {error.strerror}; make it readable") from None
        for entry in reversed(entries):
            relative = below + entry.name
            status = entry.stat(follow_symlinks=False)
            directory = stat.S_ISDIR(status.st_mode)
            if _is_ignored(relative + "/" * directory, specs):
                continue
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) or directory:
                yield relative, Path(entry.path), status
        for entry in entries:
            relative = below + entry.name + "/"
            if entry.is_dir(follow_symlinks=False) and not _is_ignored(relative, specs):
                own = _lines(Path(entry.path) / ".gitignore")
                inner = (*specs, (relative, GitIgnoreSpec.from_lines(own))) if own else specs
                pending.append((relative, inner))


def _is_ignored(relative: str, specs: tuple[tuple[str, GitIgnoreSpec], ...]) -> bool:
    for base, spec in reversed(specs):
        verdict = spec.check_file(relative.removeprefix(base)).include
        if verdict is not None:
            return verdict
    return False


def _lines(path: Path) -> list[str]:
    if path.is_symlink() or not path.is_file():
        return []
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise InvalidProject(f"{path}: {error.strerror}; make it readable") from None


def _anchored(line: str) -> str:
    """A .dockerignore pattern in .gitignore's words: Docker starts each at the root."""
    pattern = line.strip()
    if not pattern or pattern.startswith("#"):
        return ""
    negation = "!" if pattern.startswith("!") else ""
    return f"{negation}/{pattern.removeprefix('!').lstrip('/')}"


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    try:
        with path.open("rb") as file:
            tar.addfile(info, file)
    except OSError as error:
        raise InvalidProject(
            f"{path}: {error.strerror or error}; make it readable, or leave it out by .dockerignore"
        ) from None
