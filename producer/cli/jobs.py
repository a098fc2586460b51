"""The commands ``submit``, ``status``, ``result``, ``logs`` and ``cancel``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from revalid.jobs.errors import InvalidJob, ResultTimeout
from revalid.jobs.events import Event, read
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from revalid.jobs.result import JobResult
from revalid.jobs.settings import load_settings
from revalid.producer.cli.options import JobOptions
from revalid.producer.cli.output import console, print_json
from revalid.producer.cli.progress import Progress
from revalid.producer.cli.run import settings_for
from revalid.producer.cli.verdict import STATUS, print_verdict, step_line
from revalid.producer.cli.waiting import Waiting
from revalid.producer.client import Client, JobHandle
from revalid.producer.local.workers import attached
from revalid.producer.sanitize import clean, one_line
from revalid.producer.submission import prepare

_ORIGIN = {
    SubmitOutcome.NEW: "queued",
    SubmitOutcome.JOINED: "already under way",
    SubmitOutcome.REUSED: "it has a verdict already; --fresh runs it again",
}


def submit(project: Path, options: JobOptions, *, on_worker: bool, json: bool) -> int:
    """Queue a job for each entry of the matrix; print only their ids to standard output."""
    if on_worker and not project.is_absolute():
        raise InvalidJob(f"--on-worker {project}: give the absolute path on the worker")
    settings = settings_for(project)
    arguments = options.arguments()
    arguments["on_worker"] = on_worker
    with (
        prepare(settings, project, **arguments) as submission,
        attached(settings) as reached,
        Client(reached) as client,
    ):
        handles = [client.send(each) for each in submission.for_each()]
    if json:
        facts = [{"id": handle.id, "submitted": handle.outcome} for handle in handles]
        print_json(facts[0] if len(facts) == 1 else facts)
        return 0
    for handle in handles:
        assert handle.outcome is not None  # noqa: S101
        console().print(handle.id)
        message = f"{_ORIGIN[handle.outcome]}; `revalid result {handle.id}` waits for the verdict"
        if reached.embedded and handle.outcome is SubmitOutcome.NEW:
            message += ", `revalid worker` does the work"
        console(stderr=True).print(Text(message, "dim"))
    return 0


def status(job_id: str, *, json: bool) -> int:
    """Print a job's state."""
    with _job(job_id) as handle:
        record = handle.status()
    facts: dict[str, Any] = {
        "id": job_id,
        "state": record.state,
        "verdict": record.verdict,
        "cancelling": record.cancelling,
        "queue": record.queue,
        "worker": record.worker or None,
        "attempts": record.attempts,
        "queued_at": _moment(record.queued_at),
        "queued_s": record.queued_s,
        "started_at": _moment(record.started_at),
        "finished_at": _moment(record.finished_at),
    }
    if json:
        print_json(facts)
        return 0
    out = console()
    for name, value in facts.items():
        if value not in (None, False):
            shown = "yes" if value is True else one_line(str(value))
            out.print(Text.assemble((f"{name.replace('_', ' '):<13}", "dim"), shown))
    return 0


def result(job_id: str, *, wait: bool, json: bool) -> int:
    """Print a job's result; return the exit status of its verdict."""
    with _job(job_id) as handle:
        if not wait and (state := handle.status().state) is not JobState.DONE:
            raise ResultTimeout(
                f"job {job_id} is {state}: leave out --no-wait to wait for it", job_id=job_id
            )
        waiting = Waiting(handle.client, console(stderr=True))
        waiting.look(job_id)
        job_result = handle.result(idle=lambda: waiting.look(job_id))
    if json:
        print_json(job_result.model_dump(mode="json"))
    else:
        out = console()
        Progress(out, live=False).settle(job_result)
        print_verdict(out, job_result)
    return STATUS[job_result.verdict]


def logs(job_id: str, *, follow: bool) -> int:
    """Print the output of a job's commands: from the result of a done job, else from its events."""
    with _job(job_id) as handle:
        record = handle.status()
        if record.state is JobState.DONE:
            _print_outputs(handle.result())
            return 0
        waiting = Waiting(handle.client, console(stderr=True))
        waiting.look(job_id)
        if record.state is JobState.QUEUED and not follow:
            console(stderr=True).print(Text(f"job {job_id} is queued: no command runs", "dim"))
        progress = Progress(console(), live=False)
        idle = lambda: waiting.look(job_id)  # noqa: E731
        for event in handle.events(idle=idle) if follow else _until_now(handle):
            progress.show([event])
    return 0


def cancel(job_ids: Sequence[str], *, json: bool) -> int:
    """Cancel jobs."""
    out = console()
    facts: list[dict[str, Any]] = []
    with attached(load_settings()) as settings, Client(settings) as client:
        for job_id in job_ids:
            handle = client.job(job_id)
            state, record = handle.cancel(), handle.status()
            facts.append(
                {"id": job_id, "state": record.state, "was": state, "verdict": record.verdict}
            )
            message = {
                JobState.QUEUED: "it was queued and is cancelled",
                JobState.RUNNING: "it is running and ends within seconds",
                JobState.DONE: f"it was already done: {record.verdict}",
            }
            if not json:
                out.print(f"job {job_id}: {message[state]}")
    if json:
        print_json(facts[0] if len(facts) == 1 else facts)
    return 0


@contextmanager
def _job(job_id: str) -> Iterator[JobHandle]:
    with attached(load_settings()) as settings, Client(settings) as client:
        yield client.job(job_id)


def _moment(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def _until_now(handle: JobHandle) -> Iterator[Event]:
    after = "0"
    with handle.client._errors():
        while job_result := read(handle.client._redis, handle.id, after, block_s=0):
            yield from job_result
            after = job_result[-1].id


def _print_outputs(result: JobResult) -> None:
    out = console()
    for step in result.steps:
        out.print(step_line(step, 0))
        for text in (step.stdout, step.stderr):
            if written := clean(text).strip("\n"):
                out.print(Text(written))
