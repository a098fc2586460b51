"""From the ledger to the archive."""

from collections.abc import Iterator
from typing import Any

from jobs.finished import Finish, read_finished
from jobs.record import Record, State, decode_record, job_key
from producer.archive.store import Archive
from producer.archive.tables import Row, rows_of
from producer.client import Client

AT_ONCE = 10
"""Jobs in memory: a result has a few KB, and 8 MiB at most, which take 40 here."""


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
        with client.errors():
            finishes = read_finished(client.redis, last, AT_ONCE)
            found = _records(client, finishes)
        if not finishes:
            return
        jobs: list[Row] = []
        steps: list[Row] = []
        for job_id, record in found.items():
            job, its_steps = rows_of(job_id, record)
            jobs.append(job)
            steps += its_steps
        last = finishes[-1]
        yield archive.add(jobs, steps, last)


def _records(client: Client, finishes: list[Finish]) -> dict[str, Record]:
    """Done jobs by id. One that runs again is not among them; its next end is in the stream too."""
    ids = list(dict.fromkeys(finish.job_id for finish in finishes))
    pipe = client.redis.pipeline(transaction=False)
    for job_id in ids:
        pipe.hgetall(job_key(job_id))
    hashes: list[Any] = pipe.execute()
    records = {
        job_id: decode_record(fields) for job_id, fields in zip(ids, hashes, strict=True) if fields
    }
    return {job_id: record for job_id, record in records.items() if record.state is State.DONE}
