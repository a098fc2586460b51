"""The commands and their help. What they do is imported when they run: it takes half a second."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Exit, Option, Typer

from revalid.jobs.constants import MAX_SLOTS
from revalid.producer.cli import options
from revalid.producer.cli.batch.commands import batch
from revalid.producer.cli.groups import archive, broker, dead
from revalid.producer.cli.options import JobOptions, with_job_options
from revalid.version import __version__

app = Typer(
    name="revalid",
    help="Validate software projects in fresh sandboxes.",
    epilog="Exit status: 0 passed or done; 1 failed, timed out or cancelled; 2 bad input, usage or "
    "rejected; 3 our side failed, or broker or engine not reached; 130 interrupted.\n\n"
    "Settings are read from REVALID_* variables and from .env in the current directory.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"revalid {__version__}")
        raise Exit


@app.callback()
def _main(
    _version: Annotated[
        bool,
        Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            metavar="",
            help="Print the version.",
        ),
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Examples:\n\n"
    "revalid run .\n\n"
    "revalid run app.tar.gz --sandbox dagger --timeout 120\n\n"
    "revalid run . --command 'npm ci' --command 'npm test'\n\n"
    "revalid run . --max memory=2G --max processes=500 --require memory\n\n"
    "revalid run . --secret DATABRICKS_TOKEN=env://DATABRICKS_TOKEN\n\n"
    "revalid run . --json | jq .verdict\n\n"
    "Without REVALID_BROKER_URL a broker and a worker are started for this run and end with it. "
    "A .env of the project itself is not read."
)
@with_job_options("webhook")
def run(
    path: options.Project = Path(),
    *,
    job_options: JobOptions,
    json: options.Json = False,
) -> int:
    """Validate a project now, show it as it goes, and exit with the verdict."""
    from revalid.producer.cli import run as implementation

    return implementation.run(path, job_options, json=json)


@app.command(
    epilog="Example of a trajectory:\n\n"
    '{"op": "write_file", "path": "hello.py", "content": "print(1)"}\n\n'
    '{"op": "exec", "command": "python3 hello.py"}'
)
@with_job_options("strategy", "commands", "keep_going", "webhook")
def replay(
    trajectory: Annotated[
        Path, Argument(metavar="TRAJECTORY", help="JSON Lines: one step a line.")
    ],
    project: Annotated[
        Path | None,
        Option("--project", metavar="PATH", help="Directory or tarball that the steps start from."),
    ] = None,
    *,
    job_options: JobOptions,
    json: options.Json = False,
) -> int:
    """Replay recorded steps in their order, as `run` does."""
    from revalid.producer.cli import run as implementation

    return implementation.replay(trajectory, project, job_options, json=json)


@app.command()
@with_job_options()
def submit(
    path: options.Project = Path(),
    on_worker: Annotated[
        bool,
        Option(
            "--on-worker",
            metavar="",
            help="PATH is absolute and seen by the worker alone, under its REVALID_SOURCE_ROOTS.",
        ),
    ] = False,
    *,
    job_options: JobOptions,
    json: options.Json = False,
) -> int:
    """Queue a project for a worker, print the job's id, and return at once."""
    from revalid.producer.cli import jobs

    return jobs.submit(path, job_options, on_worker=on_worker, json=json)


@app.command()
def status(job_id: options.JobId, json: options.Json = False) -> int:
    """Say where a job is: queued, running or done."""
    from revalid.producer.cli import jobs

    return jobs.status(job_id, json=json)


@app.command()
def result(
    job_id: options.JobId,
    no_wait: Annotated[
        bool, Option("--no-wait", metavar="", help="Exit with 3 at once where the job is not done.")
    ] = False,
    json: options.Json = False,
) -> int:
    """Wait for a job, print its result, and exit with its verdict."""
    from revalid.producer.cli import jobs

    return jobs.result(job_id, wait=not no_wait, json=json)


@app.command()
def logs(
    job_id: options.JobId,
    follow: Annotated[
        bool, Option("--follow", "-f", metavar="", help="Go on until the job is done.")
    ] = False,
) -> int:
    """Print what a job's commands wrote."""
    from revalid.producer.cli import jobs

    return jobs.logs(job_id, follow=follow)


@app.command()
def artifacts(
    job_id: options.JobId,
    output: Annotated[
        Path | None,
        Option(
            "--output", metavar="DIR", help="Unpack them there: a directory that is new or empty."
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """List the files that a job kept (--artifact), or unpack them."""
    from revalid.producer.cli import artifacts as implementation

    return implementation.artifacts(job_id, output, json=json)


@app.command()
def cancel(job_ids: options.JobIds, json: options.Json = False) -> int:
    """Ask jobs to end: a queued one does at once, a running one within seconds."""
    from revalid.producer.cli import jobs

    return jobs.cancel(job_ids, json=json)


@app.command()
def worker(
    concurrency: Annotated[
        int | None,
        Option(
            "--concurrency",
            metavar="JOBS",
            min=1,
            max=MAX_SLOTS,
            help="How many at a time, each in a process of its own. Default: REVALID_CONCURRENCY.",
        ),
    ] = None,
) -> int:
    """Run a worker here until Ctrl-C: it finishes its jobs or gives them back."""
    from revalid.producer.cli import services

    return services.worker(concurrency)


@app.command()
def flower() -> int:
    """Watch workers and tasks in a browser: Flower, read only, until Ctrl-C."""
    from revalid.producer.cli import services

    return services.flower()


@app.command()
def metrics() -> int:
    """Serve metrics of all jobs and workers to Prometheus until Ctrl-C."""
    from revalid.producer.cli import services

    return services.metrics()


@app.command()
def doctor(json: options.Json = False) -> int:
    """Check broker, engine, image, disk and versions, and say how to fix each."""
    from revalid.producer.cli import doctor as implementation

    return implementation.doctor(json=json)


app.command()(archive)
app.add_typer(batch, name="batch")
app.add_typer(dead, name="dead")
app.add_typer(broker, name="broker")
command = typer.main.get_command(app)
