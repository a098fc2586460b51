"""Copies finished jobs from the ledger to the archive."""

from collections.abc import Iterator

from revalid.jobs.ledger.completions import read_finished
from revalid.jobs.ledger.record import JobState
from revalid.producer.archive.schema import Row, rows_of
from revalid.producer.archive.store import Archive
from revalid.producer.client import Client
from revalid.producer.results import AT_ONCE_BYTES, read_records

AT_ONCE = 10
"""Most jobs in memory; fewer if their results are large."""


def copy_finished(client: Client, archive: Archive) -> Iterator[int]:
    """Copy the jobs that finished since the archive's last one, until none is left.

    It may be interrupted anywhere without losing or doubling a row: rows and position are written
    in one transaction, and the key of a row is its job and the time of its end.

    Yields:
        The number of jobs that a transaction added.

    Raises:
        ArchiveUnavailable: The database cannot be reached, or refuses.
        BrokerUnavailable: The broker cannot be reached.
        InvalidJob: A result is of a version that this one cannot read.
    """
    last = archive.last()
    while True:
        with client._errors():
            finishes = read_finished(client._redis, last, AT_ONCE)
        if not finishes:
            return
        jobs: dict[str, Row] = {}
        steps: list[Row] = []
        size = 0
        records = read_records(client, [finish.job_id for finish in finishes])
        for finish, (job_id, record) in zip(finishes, records, strict=True):
            # Skip a job that runs again: its next end will be in the stream too.
            if record is not None and record.state is JobState.DONE and job_id not in jobs:
                size += len(record.result or "")
                if jobs and last is not None and size > AT_ONCE_BYTES:
                    yield archive.add(list(jobs.values()), steps, last)
                    jobs, steps, size = {}, [], len(record.result or "")
                jobs[job_id], its_steps = rows_of(job_id, record)
                steps += its_steps
            last = finish
        yield archive.add(list(jobs.values()), steps, finishes[-1])
