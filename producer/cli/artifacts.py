"""``artifacts``: lists or unpacks the files that a job kept; they are as untrusted as a project."""

import tarfile
import tempfile
from pathlib import Path

from revalid.jobs.connection import connect
from revalid.jobs.errors import InvalidJob
from revalid.jobs.projects import tarball
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.settings import load_settings
from revalid.producer.cli.output import console, print_json
from revalid.producer.client import Client
from revalid.producer.local.workers import attached
from revalid.producer.sanitize import one_line


def artifacts(job_id: str, output: Path | None, *, json: bool) -> int:
    """Wait for a job, and list or unpack its artifacts."""
    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidJob(f"--output {output}: is not an empty directory: name a new one")
    with (
        attached(load_settings()) as settings,
        Client(settings) as client,
        tempfile.NamedTemporaryFile(suffix=".tar.gz") as file,
    ):
        report = client.job(job_id).result().artifacts
        if report is None:
            raise InvalidJob(
                f"job {job_id} kept no artifacts: submit it with --artifact GLOB", job_id=job_id
            )
        packed = Path(file.name)
        with connect(client.url, text=False) as raw:
            store = BlobStore.of_artifacts(raw, settings)
            store.fetch(report.digest.removeprefix("sha256:"), packed)
        bounds = tarball.Bounds(report.files * tarball.MAX_DEPTH, report.size_bytes)
        with packed.open("rb") as content:
            if output is None:
                tarball.check(content, bounds)
            else:
                output.mkdir(parents=True, exist_ok=True)
                tarball.unpack(content, output, bounds)
        with tarfile.open(packed) as tar:
            files = {member.name: member.size for member in tar}
    if json:
        print_json({"id": job_id, **report.model_dump(), "names": sorted(files)})
        return 0
    out = console()
    for name, size in files.items():
        out.print(f"{size:>12,}  {one_line(name)}")
    return 0
