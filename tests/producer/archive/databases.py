"""Finished jobs for an archive, and each database that it may be in."""

import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, create_engine, make_url, text
from sqlalchemy.schema import CreateSchema, DropSchema

from revalid.jobs.job import Job
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.result import JobResult, StepResult, Verdict
from revalid.producer.client import Client
from tests.conftest import POSTGRES
from tests.jobs.samples import make_job

START = datetime(2026, 1, 1, tzinfo=UTC)
Query = Callable[[str], list[Row[Any]]]
"""Queries the archive's database."""


def run(
    client: Client, job: Job, *steps: StepResult, verdict: Verdict = Verdict.PASSED, **fields: Any
) -> None:
    """A job, from submit to its end."""
    ledger = Ledger(client._redis)
    ledger.submit(job, "q")
    attempt = ledger.claim(job.id, "host:1")
    assert attempt is not None
    result = JobResult(
        id=job.id,
        verdict=verdict,
        image=job.image,
        labels=job.labels,
        attempts=1,
        queued_at=START,
        started_at=START,
        finished_at=START,
        steps=steps,
        **fields,
    )
    ledger.finish(attempt, verdict, result.model_dump_json(), reusable=verdict.judges_project)


def run_many(client: Client, number: int) -> set[str]:
    """Finished jobs of two steps each; their ids."""
    jobs = [make_job(nonce=str(each)) for each in range(number)]
    for job in jobs:
        run(client, job, StepResult(name="build", exit_code=0), StepResult(name="test"))
    return {job.id for job in jobs}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def archive_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'archive.db'}"
        return
    url, schema = make_url(os.environ[POSTGRES]), f"test_{uuid.uuid4().hex}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(CreateSchema(schema))
    own = url.update_query_dict({"options": f"-csearch_path={schema}"})
    yield own.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture
def query(archive_url: str) -> Iterator[Query]:
    """Queries the archive."""
    engine = create_engine(archive_url)

    def ask(words: str) -> list[Row[Any]]:
        with engine.begin() as connection:
            found = connection.execute(text(words))
            return list(found) if found.returns_rows else []

    yield ask
    engine.dispose()
