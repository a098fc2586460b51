"""The commands of the group ``dead``: jobs that crashed every worker that claimed them."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.text import Text

from revalid.jobs.errors import InvalidJob
from revalid.jobs.events import read_all
from revalid.jobs.job import parse_job
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.settings import load_settings
from revalid.producer.cli.output import console, print_json
from revalid.producer.client import Client
from revalid.producer.local.workers import attached
from revalid.producer.sanitize import one_line


def show_all(*, json: bool) -> int:
    """Print a line for each dead job."""
    with attached(load_settings()) as settings, Client(settings) as client, client._errors():
        dead_jobs = [_facts(client, job_id) for job_id in client._ledger.dead()]
    if json:
        print_json(dead_jobs)
        return 0
    out = console()
    for facts in dead_jobs:
        labels = " ".join(f"{name}={value}" for name, value in facts["labels"].items())
        out.print(
            Text.assemble(
                facts["id"],
                (f"  {facts['finished_at']}  last on {facts['worker']}  ", "dim"),
                one_line(f"{facts['tenant']} {facts['strategy']} {labels}"),
            )
        )
    if not dead_jobs:
        console(stderr=True).print("no job is dead")
    return 0


def show(job_id: str, *, json: bool) -> int:
    """Print the record and the events of a dead job."""
    with attached(load_settings()) as settings, Client(settings) as client, client._errors():
        if job_id not in client._ledger.dead():
            raise InvalidJob(
                f"job {job_id} is not dead: `revalid dead list` prints the dead jobs", job_id=job_id
            )
        facts = _facts(client, job_id)
        facts["events"] = [
            {"type": event.type, **event.data} for event in read_all(client._redis, job_id)
        ]
    if json:
        print_json(facts)
        return 0
    out = console()
    for name, value in facts.items():
        if name != "events" and value:
            out.print(Text.assemble((f"{name.replace('_', ' '):<12}", "dim"), one_line(str(value))))
    for event in facts["events"]:
        event_data = " ".join(f"{name}={value}" for name, value in event.items() if name != "type")
        out.print(Text.assemble("  ", event["type"], (f"  {one_line(event_data)[:200]}", "dim")))
    return 0


def retry(job_ids: Sequence[str], *, every: bool, json: bool) -> int:
    """Run dead jobs again."""
    return _change(Ledger.retry, "queued again", job_ids, every=every, json=json)


def purge(job_ids: Sequence[str], *, every: bool, json: bool) -> int:
    """Delete dead jobs."""
    return _change(Ledger.purge, "deleted", job_ids, every=every, json=json)


def _change(
    change: Callable[[Ledger, str], None],
    done: str,
    job_ids: Sequence[str],
    *,
    every: bool,
    json: bool,
) -> int:
    if every == bool(job_ids):
        raise InvalidJob("give the ids of dead jobs, or --all")
    out = console(quiet=json)
    with attached(load_settings()) as settings, Client(settings) as client, client._errors():
        wanted = client._ledger.dead() if every else list(job_ids)
        for job_id in wanted:
            change(client._ledger, job_id)
            out.print(f"job {job_id}: {done}")
    if json:
        print_json(wanted)
    return 0


def _facts(client: Client, job_id: str) -> dict[str, Any]:
    record = client._ledger.record(job_id)
    job = parse_job(record.job)
    return {
        "id": job_id,
        "error": record.error,
        "attempts": record.attempts,
        "worker": record.worker,
        "queue": record.queue,
        "tenant": job.tenant,
        "strategy": job.strategy,
        "labels": job.labels,
        "finished_at": record.finished_at and record.finished_at.isoformat(timespec="seconds"),
    }
