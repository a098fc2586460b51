"""Results of many jobs, read within bounded memory."""

from typing import Any

import pytest
from redis import Redis

from revalid.jobs.ledger.keys import job_key
from revalid.jobs.settings import load_settings
from revalid.producer import results
from revalid.producer.client import Client
from revalid.producer.results import read_records


def store(redis: Redis, job_id: str, result: str) -> None:
    fields: dict[Any, Any] = {
        "job": "{}",
        "queue": "q",
        "state": "done",
        "queued_at": 1,
        "result": result,
    }
    redis.hset(job_key(job_id), mapping=fields)


def test_no_answer_holds_more_than_the_bound_or_one_result(
    redis: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [10, 80, 20, 300, 5, 5, 90, 10]
    for number, size in enumerate(sizes):
        store(redis, str(number), "x" * size)
    ids = [str(number) for number in range(len(sizes))]
    groups: list[list[str]] = []
    real = results._read

    def read(client: Client, group: list[str]) -> object:
        groups.append(list(group))
        return real(client, group)

    monkeypatch.setattr(results, "_read", read)
    monkeypatch.setattr(results, "AT_ONCE_BYTES", 100)
    with Client(load_settings({}, env_file=None, broker_url=valkey_url)) as client:
        found = list(read_records(client, [*ids, "gone"]))
    assert [len(record.result or "") for _, record in found if record] == sizes
    assert [job_id for job_id, _ in found] == [*ids, "gone"]
    assert found[-1][1] is None
    totals = [sum(sizes[int(i)] for i in group if i != "gone") for group in groups]
    assert all(total <= 100 or len(group) == 1 for total, group in zip(totals, groups, strict=True))
    assert len(groups) == 5
