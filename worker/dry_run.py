"""``python -m revalid.worker.dry_run``: plans the steps of projects, and runs nothing.

It reads one JSON line for each project: ``{"path": ..., "job": {...}}`` with the fields of a job.
It prints one JSON line for each: the plan, or ``error``.
"""

import json
import sys
from pathlib import Path
from typing import Any

from revalid.jobs.errors import RevalidError
from revalid.jobs.images import ImageTable, load_images
from revalid.jobs.job import Job, parse_job
from revalid.jobs.projects import tarball
from revalid.jobs.projects.ignore import Selection
from revalid.jobs.settings import load_settings
from revalid.worker.run.file_steps import describe_step
from revalid.worker.run.step_events import plan_event
from revalid.worker.strategies.dispatch import make_plan


def detect(
    path: Path, fields: dict[str, Any], bounds: tarball.Bounds, images: ImageTable
) -> dict[str, Any]:
    """Return the plan for the project at ``path``, a directory or a tarball.

    Raises:
        JobError: There is no plan for the project.
    """
    source = {"kind": "path", "path": str(path)}
    job = parse_job({**fields, "source": source})
    if path.is_dir():
        return _plan(job, path, images)
    with path.open("rb") as file, tarball.opened(file, bounds) as root:
        return _plan(job, root, images)


def _plan(job: Job, root: Path, images: ImageTable) -> dict[str, Any]:
    selection = Selection(root)
    selected = {name for name, _, _ in selection.entries()}
    left_out = [item.model_dump() for item in selection.left_out]
    plan = make_plan(job, root, selected, images)
    checks = [
        {
            "name": describe_step(planned.step),
            "check": planned.check,
            "command": getattr(planned.step, "command", None),
            "skipped_reason": planned.skipped_reason,
            "decides": not (getattr(planned.step, "allow_failure", False) or planned.absent),
        }
        for planned in plan.steps
    ]
    services = sorted({service.kind for planned in plan.steps for service in planned.services})
    found = {"image": plan.image, "checks": checks, "services": services, "left_out": left_out}
    return {**plan_event(plan), **found}


def main() -> None:
    """Answer each line of standard input."""
    settings = load_settings(env_file=None)
    images = load_images(settings.images)
    bounds = tarball.Bounds(settings.project_files, settings.project_bytes)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            found = detect(Path(asked["path"]), asked["job"], bounds, images)
        except (RevalidError, OSError) as error:
            found = {"error": str(error)}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
