"""Types of the ledger: job records, attempts, doorbells; encodes and decodes script arguments."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import Any

from pydantic import SecretStr

from revalid.jobs.job import Job
from revalid.jobs.result import Verdict
from revalid.jobs.signing import Signed, sign
from revalid.jobs.task_arguments import task_arguments
from revalid.jobs.trace_context import current_traceparent

HARD_LIMIT_MARGIN_S = 120
"""Seconds after the job's own limit at which the worker's parent kills a child that hangs."""
IMAGE_S = 300.0
"""Seconds for which a resolved image tag is trusted."""
SERVING_S = 15.0
"""Seconds for which an announcement of a worker is valid."""


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


class SubmitOutcome(StrEnum):
    """The outcome of a submit.

    Attributes:
        NEW: The job was created.
        JOINED: An identical job was queued or running.
        REUSED: An identical job had a verdict.
        CANCELLING: Refused: an identical job is being cancelled.
        NOT_STORED: Refused: the project is not in Redis, or not any more.
    """

    NEW = "new"
    JOINED = "joined"
    REUSED = "reused"
    CANCELLING = "cancelling"
    NOT_STORED = "not stored"

    @property
    def accepted(self) -> bool:
        """Return whether the job exists now; otherwise it must be submitted again."""
        return self not in (SubmitOutcome.CANCELLING, SubmitOutcome.NOT_STORED)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One claim of a job by a worker.

    Attributes:
        fence: A number that rises with each claim; only the newest may record a result.
        number: 1 for the first attempt.
        claimed: Monotonic time of the claim.
    """

    job_id: str
    fence: int
    number: int
    claimed: float = field(default_factory=monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class Doorbell:
    """A doorbell to ring, with the fields of its message.

    Attributes:
        shown: What Flower shows of the job.
        limit_s: Seconds after which the child that runs the job is killed.
    """

    job_id: str
    queue: str
    shown: str
    limit_s: int


@dataclass(frozen=True, slots=True)
class Reaped:
    """The findings of a reaper.

    Attributes:
        lost: Job and worker of each expired lease.
        overdue: Doorbells that nobody answered for long; their messages may be lost.
    """

    lost: list[tuple[str, str]]
    overdue: list[Doorbell]


@dataclass(frozen=True, slots=True)
class Record:
    """A job's record; ``job`` and ``result`` are JSON.

    Attributes:
        released: Attempts whose worker gave the job back; other earlier attempts lost their worker.
        faults: Released attempts that failed because of the worker's own files.
        queued_s: Seconds that the job waited, summed over all attempts.
        started_at: When the last attempt began.
        waits_since: When the current wait began, or the wait in which the job ended.
        error: Why the job ended without a result.
        traceparent: Trace context of the submit.
        prior: The result (JSON) of an earlier run; it is reused if its image is unchanged.
    """

    job: str
    signature: str
    queue: str
    state: JobState
    verdict: Verdict | None
    error: str | None
    attempts: int
    released: int
    faults: int
    worker: str
    cancelled: bool
    queued_at: datetime
    queued_s: float
    started_at: datetime | None
    waits_since: datetime | None
    finished_at: datetime | None
    result: str | None
    traceparent: str | None = None
    prior: str | None = None


def encode_job(job: Job, signing_key: SecretStr | None, shown: str = "") -> list[Any]:
    """Return the initial fields and values of a job's record, as one flat list."""
    record = job.model_dump_json()
    fields: dict[str, Any] = {
        "job": record,
        "tenant": job.tenant,
        "strategy": job.strategy,
        "limit_s": int(job.limits.job_timeout_s) + HARD_LIMIT_MARGIN_S,
        "engine_wait_s": job.engine_wait_s,
        "shown": shown or task_arguments(job),
    }
    if (traceparent := current_traceparent()) is not None:
        fields["traceparent"] = traceparent
    if signing_key is not None:
        fields["signature"] = sign(signing_key, Signed.RECORD, record)
    return [word for field in fields.items() for word in field]


def decode_doorbells(words: Sequence[str]) -> list[Doorbell]:
    """Decode a script's flat list of doorbells to ring."""
    fours = (words[at : at + 4] for at in range(0, len(words), 4))
    return [Doorbell(i, queue, shown, int(limit_s)) for i, queue, shown, limit_s in fours]


def decode_record(fields: dict[str, str]) -> Record:
    """Decode a record from the fields of its hash."""

    def moment(name: str) -> datetime | None:
        value = fields.get(name)
        return datetime.fromtimestamp(int(value) / 1000, UTC) if value else None

    verdict = fields.get("verdict")
    queued_at = moment("queued_at")
    assert queued_at is not None, "submit sets it"  # noqa: S101
    started_at, finished_at = moment("started_at"), moment("finished_at")
    waits_since = moment("waits_since") or (queued_at if started_at is None else None)
    queued_s = int(fields.get("waited_ms", 0)) / 1000
    if waits_since is not None and finished_at is not None:
        queued_s += max(0.0, (finished_at - waits_since).total_seconds())
    return Record(
        job=fields["job"],
        signature=fields.get("signature", ""),
        queue=fields["queue"],
        state=JobState(fields["state"]),
        verdict=Verdict(verdict) if verdict else None,
        error=fields.get("error"),
        attempts=int(fields.get("attempts", 0)),
        released=int(fields.get("released", 0)),
        faults=int(fields.get("faults", 0)),
        worker=fields.get("worker", ""),
        cancelled=fields.get("cancel") == "1",
        queued_at=queued_at,
        queued_s=round(queued_s, 3),
        started_at=started_at,
        waits_since=waits_since,
        finished_at=finished_at,
        result=fields.get("result"),
        traceparent=fields.get("traceparent"),
        prior=fields.get("prior"),
    )
