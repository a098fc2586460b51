"""Reads the records of many jobs with their results, in chunks of bounded memory."""

from collections.abc import Iterator, Sequence
from typing import cast

from revalid.jobs.ledger.keys import job_key
from revalid.jobs.ledger.record import Record, decode_record
from revalid.producer.client import Client

AT_ONCE_BYTES = 8 * 2**20
"""Bytes of results in one read, unless one result is larger; it takes five times that in memory."""


def read_records(client: Client, ids: Sequence[str]) -> Iterator[tuple[str, Record | None]]:
    """Yield each job's record, in order; None if it is gone."""
    with client._errors():
        pipe = client._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hstrlen(job_key(job_id), "result")
        sizes = cast("list[int]", pipe.execute())
    group: list[str] = []
    total = 0
    for job_id, size in zip(ids, sizes, strict=True):
        if group and total + size > AT_ONCE_BYTES:
            yield from _read(client, group)
            group, total = [], 0
        group.append(job_id)
        total += size
    yield from _read(client, group)


def _read(client: Client, ids: list[str]) -> Iterator[tuple[str, Record | None]]:
    with client._errors():
        pipe = client._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hgetall(job_key(job_id))
        hashes = cast("list[dict[str, str]]", pipe.execute())
    for job_id, fields in zip(ids, hashes, strict=True):
        yield job_id, decode_record(fields) if fields else None
