"""Fetches a job's overlay, and lays its files over the project."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects import tarball
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.projects.overlay import check_overlay
from revalid.jobs.result import OverlayReport
from revalid.jobs.settings import Settings
from revalid.jobs.source import TarballSource
from revalid.worker.sandboxes.local.overlay import lay_over
from revalid.worker.sandboxes.protocol import StepFailed


@dataclass(frozen=True, slots=True)
class Overlay:
    """An unpacked overlay.

    Attributes:
        root: The directory of its files.
        report: Digest and number of files, for the result.
    """

    root: Path
    report: OverlayReport


def fetch_overlay(
    source: TarballSource, blobs: BlobStore, settings: Settings, scratch: Path
) -> Overlay:
    """Fetch and unpack an overlay into ``scratch``.

    Raises:
        InvalidProject: It is missing, damaged, unsafe or too large, or holds a link.
        BrokerUnavailable: The blob store does not answer.
    """
    root = scratch / "overlay"
    root.mkdir(exist_ok=True)
    bounds = tarball.Bounds(settings.project_files, settings.project_bytes)
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".tar") as file:
        blobs.fetch(source.digest, Path(file.name))
        with Path(file.name).open("rb") as content:
            tarball.unpack(content, root, bounds)
    files = check_overlay(root)
    return Overlay(root, OverlayReport(digest=f"sha256:{source.digest}", files=len(files)))


def lay_over_project(overlay: Overlay, project: Path) -> None:
    """Lay the overlay over the unpacked project, so that plans and installs see its files.

    Raises:
        InvalidProject: A file could not be written there.
    """
    try:
        lay_over(overlay.root, project)
    except StepFailed as error:
        raise InvalidProject(f"overlay: {error}") from None
