"""From what a caller has (a directory, a tarball, commands) to a job and its packed project.

Everything wrong is found here, before anything is stored.
"""

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import Job, Lane, Limits, SandboxPolicy, StrategyName, parse_job
from revalid.jobs.ledger.webhook import check_url
from revalid.jobs.projects import tarball
from revalid.jobs.settings import Settings
from revalid.jobs.steps import Step

_IN_MEMORY_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid job, and its project's tarball where it has one to store."""

    job: Job
    tarball: BinaryIO | None
    size: int
    webhook: str | None = None


@contextmanager
def prepare(
    settings: Settings,
    project: Path | bytes | None,
    *,
    on_worker: bool = False,
    strategy: StrategyName | str | None = None,
    commands: Sequence[str] = (),
    steps: Sequence[Step | Mapping[str, Any]] = (),
    image: str | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    protected: Sequence[str] = (),
    artifacts: Sequence[str] = (),
    limits: Limits | Mapping[str, Any] | None = None,
    sandbox: SandboxPolicy | str | None = None,
    labels: Mapping[str, str] | None = None,
    tenant: str | None = None,
    lane: Lane | str = Lane.INTERACTIVE,
    keep_going: bool = False,
    user: str | None = None,
    fresh: bool = False,
    nonce: str | None = None,
    webhook: str | None = None,
) -> Iterator[Submission]:
    """Pack and check a project, and make its job.

    Args:
        project: A directory, a tarball file, or a tarball's bytes; None for a trajectory without.
        on_worker: ``project`` is a path that only the worker sees.
        strategy: By default ``command`` where ``commands`` are given, ``trajectory`` where
            ``steps`` are, else ``auto``.
        keep_going: Run the commands also after one that failed.
        user: ``root`` in a container; by default an ordinary user.
        fresh: Run even where an identical job has a verdict.
        nonce: Part of the job's id; by default a random one where ``fresh``.
        webhook: URL to which the job's verdict is posted; no part of the id.

    Raises:
        InvalidJob: A field is wrong.
        InvalidProject: The project is missing, unreadable, unsafe or too large.
    """
    made = strategy or ("command" if commands else "trajectory" if steps else "auto")
    fields: dict[str, Any] = {
        "tenant": tenant or settings.tenant,
        "strategy": made,
        "steps": [
            *({"op": "exec", "command": command} for command in commands),
            *(step if isinstance(step, Mapping) else step.model_dump() for step in steps),
        ],
        "image": image or settings.image,
        "env": dict(env or {}),
        "secrets": dict(secrets or {}),
        "protected": list(protected),
        "artifacts": list(artifacts),
        "limits": limits.model_dump() if isinstance(limits, Limits) else dict(limits or {}),
        "sandbox": sandbox,
        "labels": dict(labels or {}),
        "keep_going": keep_going,
        "user": user,
        "lane": lane,
        # Nobody here knows what is at a worker's path: such a job is never joined to another.
        "nonce": nonce or (uuid.uuid4().hex if fresh or on_worker else None),
    }
    placeholder = {"kind": "tarball", "digest": "0" * 64, "size_bytes": 0}
    fields["source"] = placeholder if project is not None else None
    parse_job(fields)  # before the work of packing
    if webhook is not None:
        check_url(webhook, settings.webhook_allow)
    if project is None or on_worker:
        fields["source"] = {"kind": "path", "path": str(project)} if project else None
        yield Submission(parse_job(fields), None, 0, webhook)
        return
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
        packed: BinaryIO = spool  # type: ignore[assignment]
        _pack(project, packed, tarball.Bounds(settings.project_files, settings.project_bytes))
        size = packed.seek(0, 2)
        digest = tarball.digest(packed)
        fields["source"] = {"kind": "tarball", "digest": digest, "size_bytes": size}
        yield Submission(parse_job(fields), packed, size, webhook)


def _pack(project: Path | bytes, into: BinaryIO, bounds: tarball.Bounds) -> None:
    if isinstance(project, bytes):
        into.write(project)
    elif _is_file(project):
        try:
            with project.open("rb") as file:
                while chunk := file.read(1 << 20):
                    into.write(chunk)
        except OSError as error:
            raise InvalidProject(f"project {project}: {error.strerror}") from None
    else:
        tarball.pack(project, into, bounds)
        return
    try:
        tarball.check(into, bounds)
    except InvalidProject as error:
        if isinstance(project, bytes):
            raise
        raise InvalidProject(f"project {project}: {error}") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise InvalidProject(f"project {str(path)[:80]}: {error.strerror}") from None
