"""Makes a job and its packed project from a caller's directory, tarball or commands.

Bad input is refused here, before anything is stored.
"""

import io
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from revalid.jobs.configuration import Configured, read_configuration, read_directory
from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import DEFAULT_IMAGE, Job, Lane, Limits, StrategyName, parse_job
from revalid.jobs.ledger.webhook import check_url
from revalid.jobs.projects import tarball
from revalid.jobs.projects.overlay import pack_overlay
from revalid.jobs.services import Service
from revalid.jobs.settings import Settings
from revalid.jobs.task_arguments import task_arguments
from revalid.producer.options import SubmitOptions, check_options

_IN_MEMORY_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid job with the tarballs of its project and its overlay; None if there is none.

    Attributes:
        configured: The project's configuration, as far as the producer can see it.
    """

    job: Job
    tarball: BinaryIO | None
    webhook: str | None = None
    shown: str = ""
    overlay: BinaryIO | None = None
    configured: Configured | None = None

    def for_each(self) -> list["Submission"]:
        """Return a submission for each entry of the project's matrix; itself without one."""
        matrix = self.configured.configuration.matrix if self.configured else None
        if matrix is None or not self.job.follows_project or self.job.matrix:
            return [self]
        fields = self.job.model_dump()
        jobs = (parse_job({**fields, "matrix": entry}) for entry in matrix.entries)
        return [replace(self, job=job) for job in jobs]


@contextmanager
def prepare(
    settings: Settings,
    project: Path | bytes | None,
    **options: Unpack[SubmitOptions],
) -> Iterator[Submission]:
    """Pack and check a project, and make its job.

    Args:
        project: A directory, an archive file or an archive's bytes; a trajectory may have None.
        options: The fields of :class:`.SubmitOptions`.

    Raises:
        InvalidJob: A field is wrong.
        InvalidProject: The project is missing, unreadable, unsafe or too large.
    """
    check_options(options)
    fields = job_fields(settings, options)
    webhook, on_worker = options.get("webhook"), options.get("on_worker", False)
    placeholder = {"kind": "tarball", "digest": "0" * 64, "size_bytes": 0}
    fields["source"] = placeholder if project is not None else None
    trusted = options.get("overlay")
    fields["overlay"] = placeholder if trusted is not None else None
    parse_job(fields)  # before the work of packing
    if webhook is not None:
        check_url(webhook, settings.webhook_allow)
    bounds = tarball.Bounds(settings.project_files, settings.project_bytes)
    with ExitStack() as stack:
        packed: BinaryIO | None = None
        overlay: BinaryIO | None = None
        kept: Mapping[str, bytes] = {}
        if trusted is not None:
            overlay = _spool(stack)
            pack_overlay(Path(trusted), overlay, bounds)
            fields["overlay"] = _stored(overlay)
        if project is None or on_worker:
            fields["source"] = {"kind": "path", "path": str(project)} if project else None
        else:
            packed = _spool(stack)
            summary = _pack(project, packed, bounds)
            listed = [item.model_dump() for item in summary.left_out]
            fields["source"] = {**_stored(packed), "left_out": listed}
            kept = summary.kept
        job = parse_job(fields)
        configured = _configured(job, kept, Path(trusted) if trusted is not None else None)
        yield Submission(job, packed, webhook, _shown(job, project), overlay, configured)


def job_fields(settings: Settings, options: SubmitOptions) -> dict[str, Any]:
    """Return the fields of the job that options describe, without its files."""
    commands, steps = options.get("commands") or (), options.get("steps") or ()
    limits = options.get("limits")
    on_worker, nonce = options.get("on_worker", False), options.get("nonce")
    strategy = "command" if commands else "trajectory" if steps else "auto"
    return {
        "tenant": options.get("tenant") or settings.tenant,
        "strategy": options.get("strategy") or strategy,
        "steps": [
            *({"op": "exec", "command": command} for command in commands),
            *(step if isinstance(step, Mapping) else step.model_dump() for step in steps),
        ],
        **_image(options.get("image"), settings),
        "env": dict(options.get("env") or {}),
        "secrets": dict(options.get("secrets") or {}),
        "protected": list(options.get("protected") or ()),
        "artifacts": list(options.get("artifacts") or ()),
        "limits": limits.model_dump() if isinstance(limits, Limits) else dict(limits or {}),
        "sandbox": options.get("sandbox"),
        "skip": list(options.get("skip") or ()),
        "require": list(options.get("require") or ()),
        "services": _services(options.get("services")),
        "expect_tests": options.get("expect_tests"),
        "flaky": options.get("flaky"),
        "project_config": options.get("project_config", True),
        "matrix": dict(options.get("matrix") or {}),
        "labels": dict(options.get("labels") or {}),
        "keep_going": options.get("keep_going", False),
        "session": options.get("session", False),
        "user": options.get("user"),
        "lane": options.get("lane") or Lane.INTERACTIVE,
        # The content of a worker's path is unknown here: such a job is never joined.
        "nonce": nonce or (uuid.uuid4().hex if options.get("fresh") or on_worker else None),
    }


def follows_project(image: str | None, settings: Settings) -> bool:
    """Return whether nobody names an image, so that it follows the project."""
    return _image(image, settings) == {"image": DEFAULT_IMAGE, "fixed_image": False}


def _image(named: str | None, settings: Settings) -> dict[str, Any]:
    """Return the fields of the image; without a name, or with ``auto``, it follows the project."""
    unnamed = named in (None, "", "auto")
    image = settings.image if unnamed else named
    if image in (DEFAULT_IMAGE, "auto"):
        fixed = "image" in settings.model_fields_set if unnamed else True
        return {"image": DEFAULT_IMAGE, "fixed_image": fixed and image != "auto"}
    return {"image": image}


def _configured(job: Job, kept: Mapping[str, bytes], overlay: Path | None) -> Configured | None:
    """Return the project's configuration; beside an overlay only that of the overlay counts.

    Raises:
        InvalidProject: It is wrong.
    """
    if not job.project_config or job.strategy is StrategyName.TRAJECTORY:
        return None
    if overlay is not None:
        return read_directory(overlay)
    return read_configuration(lambda name, _: kept.get(name))


def _spool(stack: ExitStack) -> BinaryIO:
    spool: Any = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
    file: BinaryIO = stack.enter_context(spool)
    return file


def _stored(packed: BinaryIO) -> dict[str, Any]:
    """Return the fields of a :class:`.TarballSource`."""
    size = packed.seek(0, 2)
    return {"kind": "tarball", "digest": tarball.digest(packed), "size_bytes": size}


def _services(
    services: Sequence[Service | Mapping[str, Any]] | None,
) -> list[dict[str, Any]] | None:
    if services is None:
        return None
    return [dict(s) if isinstance(s, Mapping) else s.model_dump() for s in services]


def _shown(job: Job, project: Path | bytes | None) -> str:
    if project is None or isinstance(project, bytes):
        return task_arguments(job)
    origin = Path(project).absolute()
    return task_arguments(job, origin.name, str(origin))


def _pack(project: Path | bytes, into: BinaryIO, bounds: tarball.Bounds) -> tarball.Summary:
    if isinstance(project, bytes):
        return tarball.repack(io.BytesIO(project), into, bounds)
    if not _is_file(project):
        return tarball.pack(project, into, bounds)
    try:
        file = project.open("rb")
    except OSError as error:
        raise InvalidProject(f"project {project}: {error.strerror}") from None
    with file:
        try:
            return tarball.repack(file, into, bounds)
        except InvalidProject as error:
            raise InvalidProject(f"project {project}: {error}") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise InvalidProject(f"project {str(path)[:80]}: {error.strerror}") from None
