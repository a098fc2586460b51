"""``batch run --dry-run``: prints the strategy and steps that each project would get."""

import json as jsonlib
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from rich.text import Text

from revalid.jobs.counted import counted
from revalid.jobs.errors import PermanentError, WorkerUnavailable
from revalid.jobs.images import load_images
from revalid.jobs.settings import Settings
from revalid.producer.batch.git import checkout
from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.sources import GIT
from revalid.producer.cli.options import JobOptions
from revalid.producer.cli.output import console, print_json
from revalid.producer.local.worker_command import worker_command
from revalid.producer.local.workers import absolute, worker_environ
from revalid.producer.options import SubmitOptions
from revalid.producer.sanitize import one_line
from revalid.producer.submission import job_fields


def dry_run(
    entries: Sequence[BatchItem], job_options: JobOptions, settings: Settings, *, json: bool
) -> int:
    """Print each project's plan; return 1 if a project has none.

    Raises:
        WorkerUnavailable: The planning process ended.
    """
    plans = [
        {"project": entry.project, "origin": entry.origin, "repeat": entry.repeat, **plan}
        for entry, plan in zip(entries, plans_of(entries, job_options, settings), strict=True)
    ]
    if json:
        print_json(plans)
    else:
        out = console()
        for plan in plans:
            what = plan.get("error") or f"{plan['strategy']}: {', '.join(plan['steps'])}"
            style = "red" if "error" in plan else "dim"
            out.print(Text.assemble(f"  {one_line(plan['project'])}  ", (one_line(what), style)))
            for note in plan.get("notes", ()):
                out.print(Text(f"    {one_line(note)}", "dim"))
            for check in plan.get("checks", ()):
                if check["skipped_reason"] and check["decides"]:
                    words = one_line(f"{check['name']}: {check['skipped_reason']}")
                    out.print(Text(f"    {words}", "yellow"))
        out.print(f"{counted(len(plans), 'project')} would run")
    return 1 if any("error" in plan for plan in plans) else 0


def plans_of(
    entries: Sequence[BatchItem], job_options: JobOptions, settings: Settings
) -> Iterator[dict[str, Any]]:
    """Get the plans from a child process: the producer does not import the worker's code.

    Raises:
        WorkerUnavailable: The process ended.
    """
    common = job_options.arguments()
    settings = absolute(settings)
    load_images(settings.images)
    with subprocess.Popen(
        worker_command("revalid.worker.dry_run"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=worker_environ(settings),
        text=True,
    ) as process:
        for entry in entries:
            options: SubmitOptions = {**common, **entry.options}  # type: ignore[typeddict-item]
            job = job_fields(settings, options)
            try:
                if GIT.match(entry.origin):
                    with checkout(entry.origin) as path:
                        yield _ask(process, str(path), job)
                else:
                    yield _ask(process, entry.origin, job)
            except PermanentError as error:
                yield {"error": str(error)}


def _ask(process: "subprocess.Popen[str]", path: str, job: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    with suppress(BrokenPipeError):
        process.stdin.write(jsonlib.dumps({"path": path, "job": job}) + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    if not line.endswith("\n"):
        with suppress(BrokenPipeError):
            process.stdin.close()  # discard the rest of the buffer
        raise WorkerUnavailable(
            f"{path}: the planning process ended with status {process.wait()}: "
            "leave the project out, or run `revalid doctor`"
        )
    answer: dict[str, Any] = jsonlib.loads(line)
    return answer
