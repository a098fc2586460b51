"""The commands of the groups ``dead`` and ``broker``, the command ``archive``, and their help."""

from typing import Annotated

from typer import Argument, Option, Typer

from revalid.producer.cli import options

dead = Typer(help="Dead jobs: each crashed three workers, and is set aside until somebody decides.")
broker = Typer(help="The embedded broker, used when REVALID_BROKER_URL is not set.")

DeadIds = Annotated[list[str] | None, Argument(metavar="ID...", help="Ids of dead jobs.")]
Every = Annotated[bool, Option("--all", metavar="", help="All dead jobs.")]


def archive(
    once: Annotated[
        bool, Option("--once", metavar="", help="Copy the jobs that are finished now, and exit.")
    ] = False,
) -> int:
    """Copy finished jobs into the database at REVALID_ARCHIVE_URL until Ctrl-C."""
    from revalid.producer.cli import archive as implementation

    return implementation.archive(once=once)


@broker.command("start")
def broker_start() -> int:
    """Start the broker and keep it running until `revalid broker stop`; print its URL."""
    from revalid.producer.cli import services

    return services.broker_start()


@broker.command("stop")
def broker_stop() -> int:
    """Stop the broker; its data stays."""
    from revalid.producer.cli import services

    return services.broker_stop()


@broker.command("status")
def broker_status(json: options.Json = False) -> int:
    """Print whether the broker runs, its URL, and its data directory."""
    from revalid.producer.cli import services

    return services.broker_status(json=json)


@dead.command("list")
def dead_list(json: options.Json = False) -> int:
    """List the dead jobs, the oldest first."""
    from revalid.producer.cli import dead as implementation

    return implementation.show_all(json=json)


@dead.command("show")
def dead_show(job_id: options.JobId, json: options.Json = False) -> int:
    """Print the events of a dead job, attempt by attempt."""
    from revalid.producer.cli import dead as implementation

    return implementation.show(job_id, json=json)


@dead.command("retry")
def dead_retry(job_ids: DeadIds = None, every: Every = False, json: options.Json = False) -> int:
    """Run dead jobs again."""
    from revalid.producer.cli import dead as implementation

    return implementation.retry(job_ids or (), every=every, json=json)


@dead.command("purge")
def dead_purge(job_ids: DeadIds = None, every: Every = False, json: options.Json = False) -> int:
    """Delete dead jobs and their results."""
    from revalid.producer.cli import dead as implementation

    return implementation.purge(job_ids or (), every=every, json=json)
