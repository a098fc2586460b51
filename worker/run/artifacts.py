"""Collects a job's artifacts: packs them, bounds their size, and stores them by digest."""

import asyncio
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from revalid.jobs.errors import BrokerUnavailable, InvalidProject, SandboxLost
from revalid.jobs.projects import tarball
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.result import ArtifactsReport
from revalid.worker.file_trees import matching_files, temporary_directory
from revalid.worker.sandboxes.protocol import Sandbox, StepFailed

COLLECT_TIMEOUT_S = 30.0  # less than a job has after its limit
FILES_MAX = 10_000
NAME_MAX = 1_000  # bytes of a path
_EXPORTED = "exported"


@dataclass
class Collection:
    """The artifacts of one attempt.

    Attributes:
        report: The stored archive; None if nothing was stored.
        notes: Sentences for the reader: what was left out, and why.
    """

    report: ArtifactsReport | None = None
    notes: list[str] = field(default_factory=list)


async def collect(
    sandbox: Sandbox,
    globs: Sequence[str],
    exported: Path,
    store: BlobStore,
    scratch: Path,
    most_bytes: int,
) -> Collection:
    """Store the files that ``globs`` match below the workspace; report a failure as a note.

    Args:
        exported: The directory of ``export_directory`` steps, stored as ``exported/INDEX``.
        store: Where the archive goes.
        scratch: The parent of a temporary directory.
        most_bytes: Bytes of all files together; further files are left out.
    """
    collection = Collection()
    if not globs and not await asyncio.to_thread(exported.exists):
        return collection
    try:
        async with asyncio.timeout(COLLECT_TIMEOUT_S):
            with temporary_directory("revalid-kept-", scratch) as directory:
                if globs:
                    await sandbox.export_matching(
                        tuple(globs), directory / "files", most_bytes=most_bytes
                    )
                roots = [("", directory / "files"), (f"{_EXPORTED}/", exported)]
                await asyncio.to_thread(
                    _store, roots, globs, store, most_bytes, directory / "packed", collection
                )
    except TimeoutError:
        collection.notes.append(f"artifacts: not collected within {COLLECT_TIMEOUT_S:g} s")
    except (StepFailed, SandboxLost, BrokerUnavailable, InvalidProject, OSError) as error:
        collection.notes.append(f"artifacts: not stored ({error})")
    return collection


def _store(
    roots: Sequence[tuple[str, Path]],
    globs: Sequence[str],
    store: BlobStore,
    most_bytes: int,
    packed: Path,
    collection: Collection,
) -> None:
    with packed.open("w+b") as file:
        files, size, left_out = _pack(_members(roots, globs), file, most_bytes)
        if left_out:
            collection.notes.append(
                f"artifacts: {left_out} left out; the limits are {FILES_MAX} files and "
                f"{most_bytes} bytes in total (REVALID_ARTIFACT_BYTES)"
            )
        if not files:
            collection.notes.append(
                "artifacts: no file matches" if not left_out else "artifacts: none"
            )
            return
        length, digest = file.seek(0, os.SEEK_END), tarball.digest(file)
        store.put(file, digest, length)
    collection.report = ArtifactsReport(digest=f"sha256:{digest}", files=files, size_bytes=size)


def _members(
    roots: Sequence[tuple[str, Path]], globs: Sequence[str]
) -> Iterator[tuple[str, Path, os.stat_result]]:
    exported = roots[1][1].exists()
    for prefix, root in roots:
        for relative, path, status in matching_files(root, ("**",) if prefix else globs):
            if prefix or not exported or relative.partition("/")[0] != _EXPORTED:
                yield prefix + relative, path, status


def _pack(
    members: Iterator[tuple[str, Path, os.stat_result]], out: BinaryIO, max_bytes: int
) -> tuple[int, int, int]:
    """Pack the members; return the number of files, their bytes, and the number left out."""
    files = size = left_out = 0
    with tarball.writing(out) as tar:
        for name, path, status in members:
            too_much = files >= FILES_MAX or size + status.st_size > max_bytes
            too_long = len(os.fsencode(name)) > NAME_MAX or name.count("/") >= tarball.MAX_DEPTH
            if too_much or too_long:
                left_out += 1
                continue
            info = tarfile.TarInfo(name)
            info.size, info.mode = status.st_size, 0o644 | status.st_mode & 0o111
            with path.open("rb") as content:
                tar.addfile(info, content)
            files, size = files + 1, size + status.st_size
    return files, size, left_out
