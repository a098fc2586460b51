"""Fetches a job's project, checks it again, and unpacks it for strategies to read."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from revalid.jobs.errors import InvalidProject, PolicyRefused
from revalid.jobs.projects import tarball
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.result import SourceReport
from revalid.jobs.settings import Settings
from revalid.jobs.source import PathSource, TarballSource


@dataclass(frozen=True, slots=True)
class Project:
    """An unpacked project and its report.

    Attributes:
        root: The directory of the project's files.
        report: Digest and size, for the result.
    """

    root: Path
    report: SourceReport


def fetch_project(
    source: TarballSource | PathSource | None, blobs: BlobStore, settings: Settings, scratch: Path
) -> Project:
    """Fetch and unpack a project into ``scratch``.

    Raises:
        InvalidProject: The project is missing, damaged, unsafe or too large.
        PolicyRefused: A path is outside the worker's source roots.
        BrokerUnavailable: The blob store does not answer.
    """
    root = scratch / "project"
    root.mkdir(exist_ok=True)
    if source is None:
        return Project(root, SourceReport())
    bounds = tarball.Bounds(settings.project_files, settings.project_bytes)
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".tar") as file:
        packed = Path(file.name)
        if isinstance(source, PathSource):
            directory = allowed_host_path(source.path, settings.source_roots, "path source")
            with packed.open("wb") as out:
                left_out = tarball.pack(directory, out, bounds).left_out
            with packed.open("rb") as content:
                digest = tarball.digest(content)
        else:
            blobs.fetch(source.digest, packed)
            digest, left_out = source.digest, source.left_out
        with packed.open("rb") as content:
            summary = tarball.unpack(content, root, bounds)
    report = SourceReport(
        digest=f"sha256:{digest}",
        files=summary.files,
        size_bytes=summary.size_bytes,
        left_out=left_out,
    )
    return Project(root, report)


def allowed_host_path(path: str, roots: Iterable[str], label: str) -> Path:
    """Return the real directory of a path that a job names, with links resolved.

    Args:
        roots: The worker's ``REVALID_SOURCE_ROOTS``.
        label: What names the path, for messages.

    Raises:
        PolicyRefused: It is not below one of ``roots``.
        InvalidProject: It is allowed, but is not a directory.
    """
    real = Path(path).resolve()
    if not any(real.is_relative_to(Path(root).resolve()) for root in roots):
        raise PolicyRefused(
            f"{label} {path}: not below REVALID_SOURCE_ROOTS of this worker; "
            "submit the files themselves, or add its directory there"
        )
    if not real.is_dir():
        raise InvalidProject(f"{label} {path}: no such directory on the worker")
    return real
