"""Reads a few fields of many jobs' records, without their results."""

from collections.abc import Iterable
from typing import cast

from revalid.jobs.ledger.keys import job_key
from revalid.producer.client import Client

_CHUNK = 500


def gone(job_id: str) -> str:
    """Return the error of a job without a record."""
    return f"job {job_id}: its record is gone; `batch resume` runs it again"


def fields(client: Client, ids: Iterable[str], *names: str) -> dict[str, list[str | None]]:
    """Read fields of the records that still exist; every record must have the first field."""
    wanted = sorted(set(ids))
    values: dict[str, list[str | None]] = {}
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        with client._errors():
            pipe = client._redis.pipeline(transaction=False)
            for job_id in chunk:
                pipe.hmget(job_key(job_id), list(names))
            rows = cast("list[list[str | None]]", pipe.execute())
        values |= {job_id: row for job_id, row in zip(chunk, rows, strict=True) if row[0]}
    return values
