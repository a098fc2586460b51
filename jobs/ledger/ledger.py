"""The ledger: the authoritative record of every job, in Redis.

Every change is one Lua script that reads the server's clock, so that workers agree on the time and
on the owner of a job. A Celery message is only a doorbell. Only a few doorbells of a queue ring at
a time; the other jobs wait in the ledger, where tenants take turns.

::

    submit -> queued --claim--> running --finish--> done
                 \\--cancel--> done         \\--lease over, worker dead: queued again, or dead
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, cast

from pydantic import SecretStr
from redis import Redis

from revalid.jobs.clock import ServerClock
from revalid.jobs.errors import (
    RETRY_AFTER_S,
    BrokerUnavailable,
    InvalidProject,
    LeaseLost,
    QueueFull,
    UnknownJob,
)
from revalid.jobs.job import Job
from revalid.jobs.ledger.keys import DEAD_KEY, HELD_KEY, image_key, job_key, serving_key
from revalid.jobs.ledger.record import (
    IMAGE_S,
    SERVING_S,
    Attempt,
    Doorbell,
    JobState,
    Reaped,
    Record,
    SubmitOutcome,
    decode_doorbells,
    decode_record,
    encode_job,
)
from revalid.jobs.ledger.scripts import register
from revalid.jobs.ledger.stats import QueueStats, decode_stats
from revalid.jobs.ledger.webhook import encode_hook
from revalid.jobs.result import Verdict
from revalid.jobs.source import TarballSource

LEASE_S = 30.0
BEAT_S = 1.0
EVENTS_MAX = 2_000
_IMAGE_MS = int(IMAGE_S * 1000)

log = logging.getLogger("revalid.ledger")


class Ledger:
    """The ledger over one synchronous Redis client.

    Args:
        ring: Sends a doorbell for a job whose turn has come. If it fails, a reaper sends it again.
        result_ttl_s: Seconds for which a done job is kept.
        queued_jobs: Most jobs in the queue.
        tenant_jobs: Most jobs of one tenant that run at a time; 0 means no limit.
        interactive_slots: Slots, of all workers together, that batch jobs leave free.
        signing_key: Key that signs the records of submitted jobs.
        blob_redis_bytes: Largest project that is kept in Redis; a submit checks that it is there.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        ring: Callable[[Doorbell], None] = lambda _: None,
        result_ttl_s: int = 7 * 86_400,
        queued_jobs: int = 100_000,
        tenant_jobs: int = 0,
        interactive_slots: int = 0,
        signing_key: SecretStr | None = None,
        blob_redis_bytes: int = -1,
    ) -> None:
        self.redis = redis
        self._ring = ring
        self._queued_jobs = queued_jobs
        self._signing_key = signing_key
        self._blob_redis_bytes = blob_redis_bytes
        self._limits = (tenant_jobs, interactive_slots, result_ttl_s * 1000)
        self._clock = ServerClock()
        self._scripts = register(redis)

    def submit(
        self, job: Job, queue: str, webhook: str | None = None, *, run: str = "", shown: str = ""
    ) -> SubmitOutcome:
        """Record a job as queued, unless an identical one is under way or has a reusable verdict.

        If the image tag was not resolved recently, a worker must check it before the reuse.

        Args:
            webhook: URL to which the verdict is posted, whichever submit made the job.
            run: Id of the run that may :meth:`withdraw` the job; empty if none may.
            shown: What Flower shows of the job; by default no project and no origin.

        Raises:
            QueueFull: The queue is full.
        """
        words = self._submission(job, queue, webhook, run, shown)
        return self._submitted(job, self._change("submit", *words))

    def submit_all(
        self,
        jobs: Sequence[Job],
        queue: str,
        webhooks: Sequence[str | None] | None = None,
        shown: Sequence[str] | None = None,
    ) -> list[SubmitOutcome]:
        """Submit many jobs in one round trip, as :meth:`submit`.

        Raises:
            QueueFull: The queue is full; some of the jobs may be queued.
        """
        pipe = self.redis.pipeline(transaction=False)
        each = zip(jobs, webhooks or [None] * len(jobs), shown or [""] * len(jobs), strict=True)
        for job, webhook, words_shown in each:
            words = self._submission(job, queue, webhook, "", words_shown)
            self._scripts["submit"]([], [*words, *self._limits], pipe)
        answers = pipe.execute()
        for _, *doorbells in answers:
            self._ring_all(doorbells)
        return [self._submitted(job, answer[0]) for job, answer in zip(jobs, answers, strict=True)]

    def _submission(
        self, job: Job, queue: str, webhook: str | None, run: str, shown: str
    ) -> list[Any]:
        hook = encode_hook(job, webhook, self._signing_key) if webhook else ""
        digests = [
            source.digest
            for source in (job.source, job.overlay)
            if isinstance(source, TarballSource) and source.size_bytes <= self._blob_redis_bytes
        ]
        projects = " ".join([job.tenant, *digests]) if digests else ""
        fields = encode_job(job, self._signing_key, shown)
        words = [job.id, queue, self._queued_jobs, job.image, _IMAGE_MS, hook, run, projects]
        return [*words, *fields]

    def _submitted(self, job: Job, answer: str) -> SubmitOutcome:
        if answer == "full":
            raise QueueFull(
                f"job {job.id}: {self._queued_jobs} jobs are queued, as many as "
                "REVALID_QUEUED_JOBS allows: submit it again when some are done",
                job_id=job.id,
                retry_after_s=RETRY_AFTER_S,
            )
        return SubmitOutcome(answer)

    def claim(self, job_id: str, worker: str, *, lease_s: float = LEASE_S) -> Attempt | None:
        """Claim a job for ``lease_s`` seconds; return None if its doorbell does not ring.

        Raises:
            UnknownJob: The ledger has no such job: it was purged, or Redis lost its data.
        """
        answer = self._change("claim", job_id, worker, int(lease_s * 1000))
        if answer == "UNKNOWN":
            raise UnknownJob(f"job {job_id}: not in the ledger; submit it again", job_id=job_id)
        if answer == "NOT NOW":
            return None
        fence, number = answer.split()
        return Attempt(job_id, int(fence), int(number))

    def beat(self, attempt: Attempt, *, lease_s: float = LEASE_S) -> bool:
        """Renew the lease; return whether the job was cancelled.

        Raises:
            LeaseLost: Another attempt owns the job; this attempt must stop.
        """
        answer = self._change("beat", attempt.job_id, attempt.fence, int(lease_s * 1000))
        if answer == "LOST":
            raise LeaseLost(
                f"job {attempt.job_id}: attempt {attempt.number} lost its lease",
                job_id=attempt.job_id,
            )
        return answer == "CANCEL"

    def append(self, attempt: Attempt, type_: str, data: str) -> None:
        """Add an event, unless another attempt owns the job; ``data`` is JSON.

        Above a bound the oldest events are dropped.
        """
        self._change("append", attempt.job_id, attempt.fence, type_, data, EVENTS_MAX)

    def finish(
        self,
        attempt: Attempt,
        verdict: Verdict,
        result: str,
        *,
        reusable: bool,
        image_digest: str = "",
        failed_step: str = "",
        duration_s: float | None = None,
        queued_s: float = 0.0,
    ) -> None:
        """Record the result of a job; repeating the call changes nothing.

        Args:
            reusable: Whether an identical later submit may reuse the result.
            image_digest: Digest of the job's image; without a container, of the worker's programs.
            failed_step: Name of the first step that kept the job from passing.
            duration_s: Seconds that the attempt took.
            queued_s: Seconds that the job waited.

        Raises:
            LeaseLost: Another attempt owns the job, or it is done; nothing was recorded.
        """
        words = (attempt.fence, verdict, result, int(reusable), image_digest, failed_step)
        times = ("" if duration_s is None else duration_s, queued_s)
        answer = self._change("finish", attempt.job_id, *words, *times)
        if answer == "LOST":
            raise LeaseLost(
                f"job {attempt.job_id}: attempt {attempt.number} came too late; not recorded",
                job_id=attempt.job_id,
            )

    def resolved(self, image: str, digest: str) -> None:
        """Store the digest to which a registry just resolved an image tag."""
        self.redis.set(image_key(image), digest, px=_IMAGE_MS)

    def image_digest(self, image: str) -> str | None:
        """Return the digest that :meth:`resolved` stored recently, or None."""
        left_ms = self.redis.pttl(image_key(image))
        if left_ms > _IMAGE_MS:  # the server's clock stepped back
            return None
        return cast("str | None", self.redis.get(image_key(image)))

    def release(self, attempt: Attempt, reason: str, *, fault: bool = False) -> bool:
        """Give a job back to the queue before its lease ends; return whether it was still held.

        Args:
            fault: Whether the worker's own failure is the reason; faults are counted.
        """
        words = (attempt.job_id, attempt.fence, reason, int(fault))
        return self._change("release", *words) == "QUEUED"

    def holds(self, workers: Sequence[str]) -> list[tuple[str, int] | None]:
        """Return the job that each process holds, with its hard limit in seconds."""
        if not workers:
            return []
        ids = cast("list[str | None]", self.redis.hmget(HELD_KEY, list(workers)))
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(job_key(job_id or ""), "limit_s")
        limits = pipe.execute()
        return [
            (job_id, int(limit_s)) if job_id and limit_s else None
            for job_id, limit_s in zip(ids, limits, strict=True)
        ]

    def abandon(self, worker: str) -> str | None:
        """Requeue the job that a dead process held; return its id, or None."""
        return self._change("abandon", worker) or None

    def reap(self, *, judge: bool, overdue_s: float) -> Reaped:
        """Requeue jobs whose lease expired, and let waiting jobs have their turn.

        Call this about once a second. A live attempt may go on until another worker claims its job.
        After a step of the server's clock, no lease is ended until its worker had time to renew it.

        Args:
            judge: Whether to end expired leases; False after an outage, when none could be renewed.
            overdue_s: Seconds after which an unanswered doorbell counts as lost.
        """
        clock = self._clock
        judge &= monotonic() - clock.steady_since > LEASE_S
        words = (int(judge), int(overdue_s * 1000), int(LEASE_S * 1000))
        lost, doorbells, overdue, now_ms, pulled = self.run(
            "reap", *words, clock.expected_ms, int(clock.stepped_back)
        )
        clock.stepped_back &= pulled > 0
        clock.observe(now_ms)
        self._ring_all(doorbells)
        return Reaped(list(zip(lost[::2], lost[1::2], strict=True)), decode_doorbells(overdue))

    def cancel(self, job_id: str) -> JobState:
        """Cancel a job: a queued one ends at once, a running one within seconds.

        Returns:
            The state that the job was in.

        Raises:
            UnknownJob: No job has this id.
        """
        answer = self._change("cancel", job_id)
        if answer == "UNKNOWN":
            raise UnknownJob(
                f"job {job_id}: no such job; `revalid status` takes an id of `submit`",
                job_id=job_id,
            )
        return JobState(answer)

    def withdraw(self, job_id: str, run: str) -> bool:
        """Cancel a job of a run, unless others submitted it too; return whether it ends.

        If the job goes on, it moves to a queue of the others.

        Raises:
            UnknownJob: No job has this id.
        """
        answer = self._change("withdraw", job_id, run)
        if answer == "UNKNOWN":
            raise UnknownJob(f"job {job_id}: no such job, or its result was purged", job_id=job_id)
        return answer == "ENDS"

    def announce(self, worker: str, queues: Iterable[str], *, slots: int) -> None:
        """Announce that a worker takes jobs from these queues; it must be repeated within 15 s.

        Args:
            slots: Jobs that the worker runs at a time; 0 withdraws the announcement.
        """
        self._change("announce", worker, slots, int(SERVING_S * 1000), *queues)

    def serving(self, queue: str) -> set[str]:
        """Return the names of the workers that take jobs from a queue."""
        seconds, microseconds = self.redis.time()
        now = seconds * 1000 + microseconds // 1000
        latest = now + SERVING_S * 1000
        members = cast("list[str]", self.redis.zrangebyscore(serving_key(queue), now, latest))
        return {member.partition(" ")[2] for member in members}

    def fail_unserved(self, queues: Iterable[str], unserved_s: float, error: str) -> list[str]:
        """End jobs that waited too long for an engine, in queues from which no worker takes jobs.

        Args:
            unserved_s: Seconds since the last worker took jobs.
            error: The error to record for these jobs.

        Returns:
            The ids of these jobs.
        """
        unserved_s = min(unserved_s, monotonic() - self._clock.steady_since)
        words = (int(unserved_s * 1000), self._clock.expected_ms, error)
        ended, doorbells = self.run("fail_unserved", *words, *queues)
        self._ring_all(doorbells)
        return list(ended)

    def dead(self) -> list[str]:
        """Return the ids of dead jobs, the oldest first."""
        ids = cast("list[str]", self.redis.zrange(DEAD_KEY, 0, -1))
        gone = [job_id for job_id in ids if not self.redis.exists(job_key(job_id))]
        if gone:
            self.redis.zrem(DEAD_KEY, *gone)
        return [job_id for job_id in ids if job_id not in gone]

    def retry(self, job_id: str) -> None:
        """Run a dead job again.

        Raises:
            UnknownJob: No dead job has this id.
            InvalidProject: Its project is not kept any more.
        """
        self._change_dead("retry", job_id)

    def purge(self, job_id: str) -> None:
        """Delete a dead job.

        Raises:
            UnknownJob: No dead job has this id.
        """
        self._change_dead("purge", job_id)

    def record(self, job_id: str) -> Record:
        """Return a job's record.

        Raises:
            UnknownJob: No job has this id.
        """
        fields = cast("dict[str, str]", self.redis.hgetall(job_key(job_id)))
        if not fields:
            raise UnknownJob(f"job {job_id}: no such job, or its result was purged", job_id=job_id)
        return decode_record(fields)

    def stats(self) -> QueueStats:
        """Return statistics; a client with read-only access suffices."""
        return decode_stats(self.run("stats"))

    def _change(self, script: str, *args: Any) -> str:
        answer, *doorbells = self.run(script, *args)
        self._ring_all(doorbells)
        return str(answer)

    def _change_dead(self, script: str, job_id: str) -> None:
        answer = self._change(script, job_id)
        if answer == "NOT STORED":
            raise InvalidProject(
                f"job {job_id}: its project is gone: submit it again", job_id=job_id
            )
        if answer == "NOT DEAD":
            raise UnknownJob(
                f"job {job_id}: no dead job has this id; see `revalid dead list`", job_id=job_id
            )

    def run(self, script: str, *args: Any) -> Any:
        """Run a script and return its reply; the caller must ring the doorbells in it."""
        return self._scripts[script](args=[*args, *self._limits])

    def _ring_all(self, words: Sequence[str]) -> None:
        for doorbell in decode_doorbells(words):
            try:
                self._ring(doorbell)
            except BrokerUnavailable as error:
                log.warning("%s", error)
                return
