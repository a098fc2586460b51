"""``run`` and ``replay``: submit, follow, report; Ctrl-C cancels."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

from jobs import events
from jobs.errors import InvalidProject, JobError
from jobs.record import Submitted, job_key
from jobs.settings import Settings, load_settings
from jobs.steps import RefreshFromHost
from producer.cli.options import JobOptions
from producer.cli.output import INTERRUPTED, console, print_json, report_error, status_of
from producer.cli.progress import Progress
from producer.cli.trajectory import read_trajectory
from producer.cli.verdict import STATUS, print_verdict
from producer.cli.waiting import PATIENCE_S, Waiting
from producer.client import Client, JobHandle
from producer.embedded import Crew, attached
from producer.submission import Submission, prepare

CANCEL_SECONDS = 10.0
_TICK_S = 0.2


def run(project: Path, options: JobOptions, *, json: bool) -> int:
    """Validate a project; the exit status says its verdict."""
    settings = settings_for(project)
    with interruptible(), prepare(settings, project, **options.arguments()) as submission:
        return _validate(settings, submission, json=json)


def replay(trajectory: Path, project: Path | None, options: JobOptions, *, json: bool) -> int:
    """Replay recorded steps; the exit status says their verdict."""
    settings = settings_for(project)
    steps = read_trajectory(trajectory)
    asks_host = any(isinstance(step, RefreshFromHost) for step in steps)
    if asks_host and project is not None and not settings.source_roots and project.is_dir():
        settings = settings.model_copy(update={"source_roots": (str(project.resolve()),)})
    arguments = options.arguments() | {"strategy": "trajectory", "steps": steps}
    with interruptible(), prepare(settings, project, **arguments) as submission:
        return _validate(settings, submission, json=json)


def settings_for(project: Path | None) -> Settings:
    """The settings, without a ``.env`` that belongs to the project: it must not configure us."""
    try:
        inside = project is not None and Path.cwd().is_relative_to(project.resolve())
    except (OSError, RuntimeError) as error:
        raise InvalidProject(f"project {str(project)[:80]}: {error}") from None
    return load_settings(env_file=None) if inside else load_settings()


def _validate(settings: Settings, submission: Submission, *, json: bool) -> int:
    out = console(stderr=json, quiet=json and not sys.stderr.isatty())
    live = (sys.stderr if json else sys.stdout).isatty() and not out.is_dumb_terminal
    job_id, interrupted = None, False
    try:
        with (
            attached(settings) as settings,
            Client(settings) as client,
            ExitStack() as stack,
        ):
            waiting = Waiting(client, out, patience_s=PATIENCE_S)
            with Progress(out, live=live) as progress:
                crew = stack.enter_context(Crew(settings, client, waiting=progress.tick))
                handle = crew.submit(submission)
                job_id = handle.id
                progress.job(job_id, joined=handle.submitted is Submitted.JOINED)
                interrupted = not _follow(handle, crew, submission, progress, waiting)
                result = handle.result(CANCEL_SECONDS if interrupted else None)
                progress.settle(result)
            # Before worker and broker end, which takes its time.
            if json:
                print_json(result.model_dump(mode="json"))
            else:
                print_verdict(out, result)
    except JobError as error:
        report_error(type(error), str(error), json=json, job_id=job_id)
        return INTERRUPTED if interrupted else status_of(error)
    except KeyboardInterrupt:
        report_error("interrupted", "interrupted", json=json, job_id=job_id)
        return INTERRUPTED
    return INTERRUPTED if interrupted else STATUS[result.verdict]


def _follow(
    handle: JobHandle, crew: Crew, submission: Submission, progress: Progress, waiting: Waiting
) -> bool:
    """Show a job until it is done; False where Ctrl-C cancelled it meanwhile.

    Raises:
        KeyboardInterrupt: Ctrl-C, and the job goes on for others.
    """
    if handle.submitted is Submitted.REUSED:
        return True
    after = "0"
    try:
        while True:
            with handle.client.errors():
                found = events.read(handle.client.redis, handle.id, after, block_s=_TICK_S)
            progress.show(found)
            if found and found[-1].last:
                return True
            if found:
                after = found[-1].id
            else:
                crew.check(submission)
                _see_that_it_is_known(handle)
                waiting.look(handle.id)
    except KeyboardInterrupt:
        progress.say("cancelling; Ctrl-C again leaves at once")
        ends = True
        with suppress(JobError):
            ends = crew.withdraw(handle)
        if not ends:
            progress.say("the job goes on: somebody else asked for it too")
            raise
        return False


def _see_that_it_is_known(handle: JobHandle) -> None:
    with handle.client.errors():
        known = handle.client.redis.exists(job_key(handle.id))
    if not known:
        handle.status()


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP interrupt once, so that what follows may clean up; again, the
    process ends at once, and what it started ends by itself.
    """
    pressed = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            os._exit(INTERRUPTED)
        pressed = True
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
