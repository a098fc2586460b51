"""``run`` and ``replay``: submit a job, follow it and print the result; Ctrl-C cancels."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.text import Text

from revalid.jobs import events
from revalid.jobs.errors import InvalidProject, RevalidError
from revalid.jobs.ledger.keys import job_key
from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.result import JobResult
from revalid.jobs.settings import Settings, load_settings
from revalid.jobs.steps import RefreshFromHost
from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.matrix import matrix_name, with_matrix
from revalid.producer.cli import interrupt
from revalid.producer.cli.options import JobOptions
from revalid.producer.cli.output import console, print_json, report_error, status_of
from revalid.producer.cli.progress import Progress
from revalid.producer.cli.trajectory import read_trajectory
from revalid.producer.cli.verdict import STATUS, print_verdict
from revalid.producer.cli.waiting import PATIENCE_S, Waiting
from revalid.producer.client import Client, JobHandle
from revalid.producer.local.workers import WorkerProvider, attached
from revalid.producer.submission import Submission, prepare

CANCEL_SECONDS = 10.0
_TICK_S = 0.2


def run(project: Path, options: JobOptions, *, dry_run: bool = False, json: bool) -> int:
    """Validate a project, or print its plan; return the exit status."""
    settings = settings_for(project)
    if dry_run:
        from revalid.producer.cli.batch.dry_run import dry_run as implementation

        item = BatchItem(project=project.resolve().name, origin=str(project.resolve()))
        entries = with_matrix([item], options.arguments(), settings)
        return implementation(entries, options, settings, json=json)
    with prepare(settings, project, **options.arguments()) as submission:
        return _validate_each(settings, submission.for_each(), json=json)


def replay(trajectory: Path, project: Path | None, options: JobOptions, *, json: bool) -> int:
    """Replay recorded steps; return the exit status of the verdict."""
    settings = settings_for(project)
    steps = read_trajectory(trajectory)
    asks_host = any(isinstance(step, RefreshFromHost) for step in steps)
    if asks_host and project is not None and not settings.source_roots and project.is_dir():
        settings = settings.model_copy(update={"source_roots": (str(project.resolve()),)})
    arguments = options.arguments() | {"strategy": "trajectory", "steps": steps}
    with prepare(settings, project, **arguments) as submission:
        return _validate(settings, submission, json=json)


def settings_for(project: Path | None) -> Settings:
    """Load the settings, but not from a ``.env`` inside the project: a project is not trusted."""
    try:
        inside = project is not None and Path.cwd().is_relative_to(project.resolve())
    except (OSError, RuntimeError) as error:
        raise InvalidProject(f"project {str(project)[:80]}: {error}") from None
    return load_settings(env_file=None) if inside else load_settings()


def _validate_each(settings: Settings, submissions: Sequence[Submission], *, json: bool) -> int:
    """Validate a project once for each entry of its matrix; return the worst exit status."""
    if len(submissions) == 1:
        return _validate(settings, submissions[0], json=json)
    worst, results = 0, list[JobResult]()
    for submission in submissions:
        if not json:
            console().print(Text(f"matrix: {matrix_name(submission.job.matrix)}", "bold"))
        before = len(results)
        status = _validate(settings, submission, json=json, keep=results.append)
        worst = max(worst, status)
        if len(results) == before or status == interrupt.STATUS:  # it ended without a verdict
            return worst
        if not json:
            console().print()
    if json:
        print_json([result.model_dump(mode="json") for result in results])
    return worst


def _validate(
    settings: Settings,
    submission: Submission,
    *,
    json: bool,
    keep: Callable[[JobResult], None] | None = None,
) -> int:
    """Validate a project; return the exit status of the verdict.

    Args:
        keep: Takes the result, which is then not printed as JSON.
    """
    out = console(stderr=json, quiet=json and not sys.stderr.isatty())
    live = (sys.stderr if json else sys.stdout).isatty() and not out.is_dumb_terminal
    job_id, interrupted = None, False
    try:
        with (
            interrupt.deferred(),
            attached(settings) as settings,
            Client(settings) as client,
            ExitStack() as stack,
        ):
            waiting = Waiting(client, out, patience_s=PATIENCE_S)
            with Progress(out, live=live) as progress:

                def tick() -> None:
                    interrupt.check()
                    progress.tick()

                provider = stack.enter_context(WorkerProvider(settings, client, waiting=tick))
                interrupt.check()
                handle = provider.submit(submission)
                job_id = handle.id
                progress.job(job_id, joined=handle.outcome is SubmitOutcome.JOINED)
                interrupted = not _follow(handle, provider, submission, progress, waiting)
                result = handle.result(CANCEL_SECONDS if interrupted else None)
                progress.settle(result)
            # Print now: ending the worker and the broker takes a while.
            if keep is not None:
                keep(result)
            if json and keep is None:
                print_json(result.model_dump(mode="json"))
            elif not json:
                print_verdict(out, result)
    except RevalidError as error:
        report_error(type(error), str(error), json=json, job_id=job_id)
        return interrupt.STATUS if interrupted else status_of(error)
    except KeyboardInterrupt:
        report_error("interrupted", "interrupted", json=json, job_id=job_id)
        return interrupt.STATUS
    return interrupt.STATUS if interrupted else STATUS[result.verdict]


def _follow(
    handle: JobHandle,
    provider: WorkerProvider,
    submission: Submission,
    progress: Progress,
    waiting: Waiting,
) -> bool:
    """Show a job until it is done; return False if Ctrl-C cancelled it.

    Raises:
        KeyboardInterrupt: Ctrl-C came, and the job goes on for others.
    """
    if handle.outcome is SubmitOutcome.REUSED:
        return True
    after = "0"
    try:
        while True:
            interrupt.check()
            with handle.client._errors():
                new_events = events.read(handle.client._redis, handle.id, after, block_s=_TICK_S)
            progress.show(new_events)
            if new_events and new_events[-1].last:
                return True
            if new_events:
                after = new_events[-1].id
            else:
                provider.check(submission)
                _check_known(handle)
                waiting.look(handle.id)
    except KeyboardInterrupt:
        progress.say("cancelling; press Ctrl-C again to leave at once")
        ends = True
        with suppress(RevalidError):
            ends = provider.withdraw(handle)
        if not ends:
            progress.say("the job goes on, because somebody else submitted it too")
            raise
        return False


def _check_known(handle: JobHandle) -> None:
    with handle.client._errors():
        known = handle.client._redis.exists(job_key(handle.id))
    if not known:
        handle.status()
