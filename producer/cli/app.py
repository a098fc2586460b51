"""The commands and their help; the implementations are imported on use, for a fast ``--help``."""

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
    "rejected; 3 our side failed, or broker or engine unavailable; 130 interrupted.\n\n"
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
    "Without REVALID_BROKER_URL, the command starts a broker and a worker for this run. "
    "It does not read a .env file inside the project."
)
@with_job_options("webhook")
def run(
    path: options.Project = Path(),
    dry_run: Annotated[
        bool, Option("--dry-run", metavar="", help="Print the plan, and run nothing.")
    ] = False,
    *,
    job_options: JobOptions,
    json: options.Json = False,
) -> int:
    """Validate a project, show the progress, and exit with the verdict."""
    from revalid.producer.cli import run as implementation

    return implementation.run(path, job_options, dry_run=dry_run, json=json)


@app.command()
def init(
    directory: Annotated[Path, Argument(metavar="DIR", help="The project's directory.")] = Path(),
    force: Annotated[
        bool, Option("--force", metavar="", help="Replace a revalid.toml that is there.")
    ] = False,
) -> int:
    """Write a revalid.toml for a project, from what is found in it."""
    from revalid.producer.cli import init as implementation

    return implementation.init(directory, force=force)


@app.command(
    epilog="Example of a trajectory:\n\n"
    '{"op": "write_file", "path": "hello.py", "content": "print(1)"}\n\n'
    '{"op": "exec", "command": "python3 hello.py"}'
)
@with_job_options("strategy", "commands", "keep_going", "no_project_config", "webhook")
def replay(
    trajectory: Annotated[
        Path, Argument(metavar="TRAJECTORY", help="JSON Lines file with one step per line.")
    ],
    project: Annotated[
        Path | None,
        Option("--project", metavar="PATH", help="Directory or tarball in which the steps start."),
    ] = None,
    *,
    job_options: JobOptions,
    json: options.Json = False,
) -> int:
    """Replay recorded steps, and exit with the verdict as `run` does."""
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
            help="PATH is an absolute path on the worker, under its REVALID_SOURCE_ROOTS.",
        ),
    ] = False,
    *,
    job_options: JobOptions,
    json: options.Json = False,
) -> int:
    """Queue a project, print the job's id, and return at once."""
    from revalid.producer.cli import jobs

    return jobs.submit(path, job_options, on_worker=on_worker, json=json)


@app.command()
def status(job_id: options.JobId, json: options.Json = False) -> int:
    """Print a job's state: queued, running or done."""
    from revalid.producer.cli import jobs

    return jobs.status(job_id, json=json)


@app.command()
def result(
    job_id: options.JobId,
    no_wait: Annotated[
        bool, Option("--no-wait", metavar="", help="Exit with 3 if the job is not done.")
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
        bool,
        Option("--follow", "-f", metavar="", help="Wait for more output until the job is done."),
    ] = False,
) -> int:
    """Print the output of a job's commands."""
    from revalid.producer.cli import jobs

    return jobs.logs(job_id, follow=follow)


@app.command()
def artifacts(
    job_id: options.JobId,
    output: Annotated[
        Path | None,
        Option("--output", metavar="DIR", help="Unpack the files there; DIR must be new or empty."),
    ] = None,
    json: options.Json = False,
) -> int:
    """List the files that a job kept (--artifact), or unpack them."""
    from revalid.producer.cli import artifacts as implementation

    return implementation.artifacts(job_id, output, json=json)


@app.command()
def cancel(job_ids: options.JobIds, json: options.Json = False) -> int:
    """Cancel jobs: a queued one ends at once, a running one within seconds."""
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
            help="Jobs to run at a time, each in its own process. Default: REVALID_CONCURRENCY.",
        ),
    ] = None,
) -> int:
    """Run a worker until Ctrl-C; it then finishes its jobs or gives them back."""
    from revalid.producer.cli import services

    return services.worker(concurrency)


@app.command()
def flower() -> int:
    """Run Flower, a read-only web page of workers and tasks, until Ctrl-C."""
    from revalid.producer.cli import services

    return services.flower()


@app.command()
def metrics() -> int:
    """Serve metrics of all jobs and workers for Prometheus until Ctrl-C."""
    from revalid.producer.cli import services

    return services.metrics()


@app.command()
def doctor(json: options.Json = False) -> int:
    """Check broker, engine, image, disk and versions, and print how to fix problems."""
    from revalid.producer.cli import doctor as implementation

    return implementation.doctor(json=json)


app.command()(archive)
app.add_typer(batch, name="batch")
app.add_typer(dead, name="dead")
app.add_typer(broker, name="broker")
command = typer.main.get_command(app)
