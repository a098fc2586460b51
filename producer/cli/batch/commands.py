"""The commands of the group ``batch``, and their help. What they do is imported when they run."""

from typing import Annotated

from typer import Argument, Option, Typer

from revalid.producer.cli import options
from revalid.producer.cli.options import BatchOptions, JobOptions, with_job_options

batch = Typer(help="Many projects as one object: run, follow, resume, report, compare.")

Sources = Annotated[
    list[str],
    Argument(
        metavar="SOURCE...",
        help="A directory of projects, a glob, tarballs, a .jsonl or .csv manifest, or Git URLs "
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
        help="Projects under way at a time. Default: as many as the workers take; without "
        "REVALID_BROKER_URL, REVALID_CONCURRENCY.",
    ),
]
FailFast = Annotated[
    bool,
    Option("--fail-fast", metavar="", help="Cancel the others once a project did not pass."),
]
Reports = Annotated[
    list[str] | None,
    Option(
        "--report",
        metavar="FORMAT=PATH",
        help="Write a report: junit, html, json, csv or markdown; repeat for more.",
    ),
]
Compare = Annotated[
    str | None,
    Option(
        "--compare", metavar="PREVIOUS", help="Compare with a batch, or with a JSON report's path."
    ),
]


@batch.command(
    epilog="Examples:\n\n"
    "revalid batch run apps/ --report html=report.html\n\n"
    "revalid batch run 'apps/*-shop' --repeat 3 --sandbox dagger\n\n"
    "revalid batch run apps.csv --only 'team-*' --limit 100 --compare last.json\n\n"
    "A manifest's lines have project (a path or Git URL), and may have name, strategy, commands, "
    "image, sandbox and labels. Exit status: 0 when every project passed, 1 when any did not."
)
@with_job_options()
def run(
    sources: Sources,
    only: Annotated[
        list[str] | None,
        Option("--only", metavar="GLOB", help="Only projects of such names; repeat for more."),
    ] = None,
    only_label: Annotated[
        list[str] | None,
        Option(
            "--only-label",
            metavar="NAME=VALUE",
            help="Only projects with a label; repeat for more.",
        ),
    ] = None,
    limit: Annotated[
        int | None, Option("--limit", metavar="NUMBER", min=1, help="Only the first so many.")
    ] = None,
    repeat: Annotated[
        int,
        Option(
            "--repeat",
            metavar="NUMBER",
            min=1,
            max=1_000,
            help="Run each so often, to find what is flaky; implies --fresh.",
        ),
    ] = 1,
    concurrency: Concurrency = None,
    fail_fast: FailFast = False,
    dry_run: Annotated[
        bool, Option("--dry-run", metavar="", help="Only say what would run, by which strategy.")
    ] = False,
    report: Reports = None,
    compare: Compare = None,
    *,
    asked: JobOptions,
    json: options.Json = False,
) -> int:
    """Validate many projects, show them as they go, and report."""
    from revalid.producer.cli.batch import actions as implementation

    how = BatchOptions(concurrency, fail_fast, report, compare, json)
    return implementation.run(
        sources,
        asked,
        how,
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
    """Go on with a batch whose process ended: no project is submitted twice."""
    from revalid.producer.cli.batch import actions as implementation

    how = BatchOptions(concurrency, fail_fast, report, compare, json)
    return implementation.resume(batch_id, how)


@batch.command()
def retry(
    batch_id: BatchId,
    verdict: Annotated[
        list[str] | None,
        Option("--verdict", metavar="VERDICT", help="Which to run again; default errored."),
    ] = None,
    concurrency: Concurrency = None,
    report: Reports = None,
    compare: Compare = None,
    json: options.Json = False,
) -> int:
    """Run those projects of a batch again that came to a verdict."""
    from revalid.producer.cli.batch import actions as implementation

    how = BatchOptions(concurrency, False, report, compare, json)
    return implementation.retry(batch_id, verdict or ["errored"], how)


@batch.command()
def status(batch_id: BatchId, json: options.Json = False) -> int:
    """Say where a batch is: counts and causes."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.status(batch_id, json=json)


@batch.command()
def watch(batch_id: BatchId, json: options.Json = False) -> int:
    """Follow a batch that another process submits, until it is done."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.watch(batch_id, json=json)


@batch.command()
def cancel(batch_id: BatchId, json: options.Json = False) -> int:
    """Ask all jobs of a batch to end."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.cancel(batch_id, json=json)


@batch.command()
def report(
    batch_id: BatchId,
    report: Reports = None,
    compare: Compare = None,
    json: options.Json = False,
) -> int:
    """Write reports of a batch as it is now."""
    from revalid.producer.cli.batch import actions as implementation

    how = BatchOptions(None, False, report, compare, json)
    return implementation.report(batch_id, how)


@batch.command()
def compare(
    batch_id: BatchId,
    previous: Annotated[str, Argument(metavar="PREVIOUS", help="A batch id or a JSON report.")],
    json: options.Json = False,
) -> int:
    """Say what changed since an earlier batch; 1 where something regressed."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.compare(batch_id, previous, json=json)


@batch.command("list")
def list_(json: options.Json = False) -> int:
    """Name the batches, the newest first."""
    from revalid.producer.cli.batch import actions as implementation

    return implementation.list_(json=json)
