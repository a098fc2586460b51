"""The commands of the group ``batch`` and their help; the actions are imported on use."""

from typing import Annotated

from typer import Argument, Option, Typer

from revalid.producer.cli import options
from revalid.producer.cli.options import BatchOptions, JobOptions, with_job_options

batch = Typer(help="Validate many projects as one batch: run, follow, resume, report, compare.")

Sources = Annotated[
    list[str],
    Argument(
        metavar="SOURCE...",
        help="A directory of projects, a glob, archives, a .jsonl or .csv manifest, or Git URLs "
        "(#branch at the end).",
    ),
]
BatchId = Annotated[str, Argument(metavar="BATCH", help="Batch id, as `batch run` prints it.")]
Concurrency = Annotated[
    int | None,
    Option(
        "--concurrency",
        metavar="JOBS",
        min=1,
        max=100_000,
        help="Most projects that run at a time. Default: as many as the workers take; without "
        "REVALID_BROKER_URL, REVALID_CONCURRENCY.",
    ),
]
FailFast = Annotated[
    bool,
    Option("--fail-fast", metavar="", help="Cancel the other projects when one did not pass."),
]
Reports = Annotated[
    list[str] | None,
    Option(
        "--report",
        metavar="FORMAT=PATH",
        help="Write a report as junit, html, json, csv or markdown; repeatable.",
    ),
]
Compare = Annotated[
    str | None,
    Option(
        "--compare", metavar="PREVIOUS", help="Compare with a batch id or a JSON report's path."
    ),
]
Expect = Annotated[
    str | None,
    Option(
        "--expect",
        metavar="CSV",
        help="Compare with the verdicts that a file expects: columns project, verdict (several "
        "joined by `or`), and, where known, tests_executed and tests_failed.",
    ),
]


@batch.command(
    epilog="Examples:\n\n"
    "revalid batch run apps/ --report html=report.html\n\n"
    "revalid batch run 'apps/*-shop' --repeat 3 --sandbox dagger\n\n"
    "revalid batch run apps.csv --only 'team-*' --limit 100 --compare last.json\n\n"
    "A manifest's lines have project (a path or Git URL), and may have name, strategy, commands, "
    "image, sandbox and labels. Exit status: 0 when every project passed, 1 when any did not; "
    "with --expect, 0 when every one is as expected."
)
@with_job_options()
def run(
    sources: Sources,
    only: Annotated[
        list[str] | None,
        Option("--only", metavar="GLOB", help="Only projects whose name matches; repeatable."),
    ] = None,
    only_label: Annotated[
        list[str] | None,
        Option(
            "--only-label",
            metavar="NAME=VALUE",
            help="Only projects with this label; repeatable.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        Option("--limit", metavar="NUMBER", min=1, help="Only the first NUMBER projects."),
    ] = None,
    repeat: Annotated[
        int,
        Option(
            "--repeat",
            metavar="NUMBER",
            min=1,
            max=1_000,
            help="Run each project NUMBER times, to find flaky ones; implies --fresh.",
        ),
    ] = 1,
    concurrency: Concurrency = None,
    fail_fast: FailFast = False,
    dry_run: Annotated[
        bool,
        Option("--dry-run", metavar="", help="Print the plan of each project, and run nothing."),
    ] = False,
    report: Reports = None,
    compare: Compare = None,
    expect: Expect = None,
    *,
    job_options: JobOptions,
    json: options.Json = False,
) -> int:
    """Validate many projects, show their progress, and write reports."""
    from revalid.producer.cli.batch import actions as implementation

    batch_options = BatchOptions(concurrency, fail_fast, report, compare, json, expect)
    return implementation.run(
        sources,
        job_options,
        batch_options,
        only=only or (),
        only_labels=only_label or (),
        limit=limit,
        repeat=repeat,
        dry_run=dry_run,
    )


@batch.command()
def resume(
    batch_id: BatchId,
    concurrency: Concurrency = None,
    fail_fast: FailFast = False,
    report: Reports = None,
    compare: Compare = None,
    json: options.Json = False,
) -> int:
    """Continue a batch whose process ended; submit only the remaining projects."""
    from revalid.producer.cli.batch import actions as implementation

    batch_options = BatchOptions(concurrency, fail_fast, report, compare, json)
    return implementation.resume(batch_id, batch_options)


@batch.command()
def retry(
    batch_id: BatchId,
    verdict: Annotated[
        list[str] | None,
        Option(
            "--verdict",
            metavar="VERDICT",
            help="Verdict to run again; repeatable. Default: errored.",
        ),
    ] = None,
    concurrency: Concurrency = None,
    report: Reports = None,
    compare: Compare = None,
    json: options.Json = False,
) -> int:
    """Run the projects of a batch again that have a given verdict."""
    from revalid.producer.cli.batch import actions as implementation

    batch_options = BatchOptions(concurrency, False, report, compare, json)
    return implementation.retry(batch_id, verdict or ["errored"], batch_options)


@batch.command()
def status(batch_id: BatchId, json: options.Json = False) -> int:
    """Print the state of a batch: counts and causes of failures."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.status(batch_id, json=json)


@batch.command()
def watch(batch_id: BatchId, json: options.Json = False) -> int:
    """Show the progress of a batch that another process runs, until it is done."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.watch(batch_id, json=json)


@batch.command()
def cancel(batch_id: BatchId, json: options.Json = False) -> int:
    """Cancel all unfinished jobs of a batch."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.cancel(batch_id, json=json)


@batch.command()
def report(
    batch_id: BatchId,
    report: Reports = None,
    compare: Compare = None,
    expect: Expect = None,
    json: options.Json = False,
) -> int:
    """Write reports of the current state of a batch."""
    from revalid.producer.cli.batch import actions as implementation

    batch_options = BatchOptions(None, False, report, compare, json, expect)
    return implementation.report(batch_id, batch_options)


@batch.command()
def compare(
    batch_id: BatchId,
    previous: Annotated[str, Argument(metavar="PREVIOUS", help="A batch id or a JSON report.")],
    json: options.Json = False,
) -> int:
    """Print what changed since an earlier batch; exit with 1 if something regressed."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.compare(batch_id, previous, json=json)


@batch.command("list")
def list_(json: options.Json = False) -> int:
    """List the batches, the newest first."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.list_(json=json)
