"""From the ledger to the archive."""

from collections.abc import Iterator

from revalid.jobs.ledger.completions import read_finished
from revalid.jobs.ledger.record import JobState
from revalid.producer.archive.schema import Row, rows_of
from revalid.producer.archive.store import Archive
from revalid.producer.client import Client
from revalid.producer.results import AT_ONCE_BYTES, read_records

AT_ONCE = 10
"""Jobs in memory, fewer where their results are large."""


def copy_finished(client: Client, archive: Archive) -> Iterator[int]:
    """Copy what finished since the archive's last job, until nothing is left.

    Ended anywhere and begun again, it loses nothing and adds nothing twice: rows and position are
    one transaction, and a row is known by its job and the time of its end.

    Yields:
        How many jobs a batch added.

    Raises:
        ArchiveUnavailable: The database is not reached, or refuses.
        BrokerUnavailable: The broker is not reached.
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
            # A job that runs again is left out: its next end is in the stream too.
            if record is not None and record.state is JobState.DONE and job_id not in jobs:
                size += len(record.result or "")
                if jobs and last is not None and size > AT_ONCE_BYTES:
                    yield archive.add(list(jobs.values()), steps, last)
                    jobs, steps, size = {}, [], len(record.result or "")
                jobs[job_id], its_steps = rows_of(job_id, record)
                steps += its_steps
            last = finish
        yield archive.add(list(jobs.values()), steps, finishes[-1])
