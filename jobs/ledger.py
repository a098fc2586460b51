"""The ledger: the record of every job in Redis, and the truth about its state.

Every change is one Lua script that reads the server's clock, so that two workers never disagree
about time or about who owns a job. Celery's message is only the doorbell.

::

    submit -> queued --claim--> running --finish--> done
                 \\--cancel--> done            lease over: claim again, with a higher fence
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from redis import Redis
from redis.commands.core import Script

from jobs.errors import LeaseLost, UnknownJob
from jobs.job import Job
from jobs.result import Verdict

LEASE_S = 30.0
BEAT_S = 1.0
EVENTS_MAX = 2_000


class State(StrEnum):
    """Where a job is on its way."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


class Submitted(StrEnum):
    """What a submit came to."""

    NEW = "new"
    JOINED = "joined"
    REUSED = "reused"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One claim of a job.

    Attributes:
        fence: Rises with each claim; only the newest may record a result.
        number: 1 for the first attempt.
    """

    job_id: str
    fence: int
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A job as the ledger holds it; ``job`` and ``result`` are JSON.

    Attributes:
        released: Attempts that gave the job back; the others before the last lost their worker.
    """

    job: str
    queue: str
    state: State
    verdict: Verdict | None
    attempts: int
    released: int
    worker: str
    cancelled: bool
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: str | None


def job_key(job_id: str) -> str:
    """The hash that holds a job's record."""
    return f"revalid:job:{job_id}"


def events_key(job_id: str) -> str:
    """The stream that holds a job's events."""
    return f"revalid:events:{job_id}"


RUNNING_KEY = "revalid:running"
QUEUED_KEY = "revalid:queued"


class Ledger:
    """The scripts of the ledger over one synchronous Redis client."""

    def __init__(self, redis: Redis, *, result_ttl_s: int = 7 * 86_400) -> None:
        self.redis = redis
        self._ttl = result_ttl_s
        self._submit = _script(redis, "submit")
        self._claim = _script(redis, "claim")
        self._beat = _script(redis, "beat")
        self._finish = _script(redis, "finish")
        self._cancel = _script(redis, "cancel")
        self._release = _script(redis, "release")
        self._reap = _script(redis, "reap")

    def submit(self, job: Job, queue: str) -> Submitted:
        """Record a job as queued, unless an identical one is under way or has judged the project.

        The caller rings the doorbell on ``queue``, unless the verdict is ``REUSED``.
        """
        return Submitted(self._run(self._submit, job.id, job.model_dump_json(), queue))

    def claim(self, job_id: str, worker: str, *, lease_s: float = LEASE_S) -> Attempt | None:
        """Own a job for ``lease_s`` seconds; None where another attempt owns it or it is done.

        Raises:
            UnknownJob: The ledger has no such job: it was purged, or Redis lost its data.
        """
        answer = self._run(self._claim, job_id, worker, int(lease_s * 1000))
        if answer == "UNKNOWN":
            raise UnknownJob(f"job {job_id}: not in the ledger; submit it again")
        if answer in ("LEASED", "DONE"):
            return None
        fence, number = str(answer).split()
        return Attempt(job_id, int(fence), int(number))

    def beat(self, attempt: Attempt, *, lease_s: float = LEASE_S) -> bool:
        """Renew the lease; True where somebody asked to cancel the job.

        Raises:
            LeaseLost: Another attempt owns the job: stop working on it.
        """
        answer = self._run(self._beat, attempt.job_id, attempt.fence, int(lease_s * 1000))
        if answer == "LOST":
            raise LeaseLost(f"job {attempt.job_id}: attempt {attempt.number} lost its lease")
        return bool(answer == "CANCEL")

    def finish(self, attempt: Attempt, verdict: Verdict, result: str, *, reusable: bool) -> None:
        """Record the one result of a job.

        Args:
            reusable: An identical later submit may be given this result.

        Raises:
            LeaseLost: Another attempt owns the job, or it is done: nothing was recorded.
        """
        answer = self._run(
            self._finish,
            attempt.job_id,
            attempt.fence,
            verdict,
            result,
            int(reusable),
            self._ttl * 1000,
        )
        if answer == "LOST":
            raise LeaseLost(
                f"job {attempt.job_id}: attempt {attempt.number} came too late; not recorded"
            )

    def release(self, attempt: Attempt) -> bool:
        """Give a job back to the queue before its lease ends; the caller rings the doorbell."""
        return bool(self._run(self._release, attempt.job_id, attempt.fence) == "QUEUED")

    def reap(self, overdue_s: float) -> tuple[list[str], list[str]]:
        """Return jobs whose lease ended to the queue; an attempt that lives may still go on.

        Returns:
            Ids of those jobs, and ids of jobs that have waited for ``overdue_s`` seconds since they
            were last returned here: the doorbell of the first has to ring, that of the others may
            be lost.
        """
        expired, waiting = self._reap(keys=[QUEUED_KEY, RUNNING_KEY], args=[int(overdue_s * 1000)])
        return list(map(str, expired)), list(map(str, waiting))

    def cancel(self, job_id: str) -> State:
        """Ask that a job ends: a queued one is done at once, a running one within seconds.

        Returns:
            The state that the job was in.

        Raises:
            UnknownJob: No job has this id.
        """
        answer = self._run(self._cancel, job_id, self._ttl * 1000)
        if answer == "UNKNOWN":
            raise UnknownJob(f"job {job_id}: no such job; `revalid status` takes an id of `submit`")
        return State(answer)

    def record(self, job_id: str) -> Record:
        """Everything that the ledger holds of a job.

        Raises:
            UnknownJob: No job has this id.
        """
        fields = cast("dict[str, str]", self.redis.hgetall(job_key(job_id)))
        if not fields:
            raise UnknownJob(f"job {job_id}: no such job, or its result was purged")
        return decode_record(fields)

    def _run(self, script: Script, job_id: str, *args: Any) -> Any:
        keys = [job_key(job_id), events_key(job_id), QUEUED_KEY, RUNNING_KEY]
        return script(keys=keys, args=[job_id, *args])


def _script(redis: Redis, name: str) -> Script:
    return redis.register_script((Path(__file__).parent / "lua" / f"{name}.lua").read_text())


def decode_record(fields: dict[str, str]) -> Record:
    """A record from the fields of its hash."""

    def moment(name: str) -> datetime | None:
        value = fields.get(name)
        return datetime.fromtimestamp(int(value) / 1000, UTC) if value else None

    verdict = fields.get("verdict")
    queued_at = moment("queued_at")
    assert queued_at is not None, "submit sets it"  # noqa: S101
    return Record(
        job=fields["job"],
        queue=fields["queue"],
        state=State(fields["state"]),
        verdict=Verdict(verdict) if verdict else None,
        attempts=int(fields.get("attempts", 0)),
        released=int(fields.get("released", 0)),
        worker=fields.get("worker", ""),
        cancelled=fields.get("cancel") == "1",
        queued_at=queued_at,
        started_at=moment("started_at"),
        finished_at=moment("finished_at"),
        result=fields.get("result"),
    )
