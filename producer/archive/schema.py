"""The tables of the archive, and the conversion of a job to rows."""

import json
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from revalid.jobs.ledger.record import Record
from revalid.producer.client import decode_result

SCHEMA_VERSION = "2"

METADATA = MetaData()
_TIME = DateTime(timezone=True)
_JSON = JSON().with_variant(JSONB(), "postgresql")

JOBS = Table(
    "revalid_jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("finished_at", _TIME, primary_key=True),  # a job may run again
    Column("queued_at", _TIME, nullable=False),
    Column("started_at", _TIME),
    Column("tenant", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("project", Text),
    Column("labels", _JSON, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("sandbox", Text),
    Column("verdict", Text, nullable=False),
    Column("reused", Boolean, nullable=False),
    Column("failed_step", Text),
    Column("duration_s", Float),
    Column("queued_s", Float, nullable=False),
    Column("error", Text),
    Column("attempts", Integer, nullable=False),
    Column("result", _JSON, nullable=False),
    Index("revalid_jobs_finished_at", "finished_at"),
)
STEPS = Table(
    "revalid_steps",
    METADATA,
    Column("job_id", Text, primary_key=True),
    Column("finished_at", _TIME, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("op", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("exit_code", Integer),
    Column("duration_s", Float, nullable=False),
    ForeignKeyConstraint(
        ["job_id", "finished_at"], [JOBS.c.id, JOBS.c.finished_at], ondelete="CASCADE"
    ),
)
FACTS = Table(
    "revalid_archive",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

Row = dict[str, Any]


def rows_of(job_id: str, record: Record) -> tuple[Row, list[Row]]:
    """Return the row of a job and the rows of its steps.

    Raises:
        InvalidJob: The result is of a version that this one cannot read.
    """
    result = decode_result(job_id, record)
    job = json.loads(record.job)
    source = job.get("source") or {}
    stored = f"sha256:{source['digest']}" if "digest" in source else None
    key = {"finished_at": record.finished_at}
    row = {
        **key,
        "id": job_id,
        "queued_at": record.queued_at,
        "started_at": record.started_at,
        "tenant": job["tenant"],
        "lane": job["lane"],
        "project": result.source.digest or stored,
        "labels": job["labels"],
        "strategy": result.strategy.name if result.strategy else job["strategy"],
        "image": result.image or job["image"],
        "sandbox": result.sandbox.kind,
        "verdict": record.verdict,
        "reused": result.reused,
        "failed_step": result.failed_step,
        "duration_s": result.duration_s,
        "queued_s": result.queued_s,
        "error": result.error,
        "attempts": result.attempts,
        "result": result.model_dump(mode="json"),
    }
    steps = [
        {
            **key,
            "job_id": job_id,
            "number": number,
            "name": step.name,
            "op": step.op,
            "status": step.status,
            "ok": step.ok,
            "cached": step.cached,
            "exit_code": step.exit_code,
            "duration_s": step.duration_s,
        }
        for number, step in enumerate(result.steps, 1)
    ]
    return _without_nul(row), _without_nul(steps)


def _without_nul(value: Any) -> Any:
    """Replace NUL characters, which commands may write and PostgreSQL refuses."""
    if isinstance(value, str):
        return str(value).replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value
