"""Every script of the ledger in any order, against a model of it in memory."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from revalid.jobs.errors import LeaseLost, UnknownJob
from revalid.jobs.job import DEFAULT_IMAGE, Lane
from revalid.jobs.ledger.deliveries import Outcome, settle, take
from revalid.jobs.ledger.keys import (
    DEAD_KEY,
    QUEUED_KEY,
    RUNNING_KEY,
    events_key,
    image_key,
    job_key,
    lane_key,
)
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt, JobState, SubmitOutcome, decode_record
from revalid.jobs.result import Verdict
from tests.jobs.samples import make_job

JOBS = {job.id: job for job in (make_job(nonce=str(number)) for number in range(3))}
ids = st.sampled_from(list(JOBS))
queues = st.sampled_from(["q", "r"])
workers = st.sampled_from(["host:1", "host:2"])
digests = st.sampled_from(["", "sha256:a", "sha256:b"])  # empty: in no image, or not known


COMPARED = (
    *("queue", "state", "attempts", "released", "worker", "cancelled", "verdict", "result"),
    "prior",
)


@dataclass
class Model:
    """The expected state of one job in the ledger."""

    queue: str
    fence: int = -1
    state: JobState = JobState.QUEUED
    attempts: int = 0
    worker: str = ""
    cancelled: bool = False
    verdict: Verdict | None = None
    result: str | None = None
    reusable: bool = False
    digest: str = ""
    prior: str | None = None
    ended: bool = False
    released: int = 0
    recorded: bool = False
    dead: bool = False
    events: list[str] = field(default_factory=lambda: ["queued"])
    hooks: int = 0
    told: list[Verdict] = field(default_factory=list)

    def may_go_on(self, attempt: Attempt) -> bool:
        return self.state is not JobState.DONE and self.fence == attempt.fence

    def owns(self, attempt: Attempt) -> bool:
        return self.state is JobState.RUNNING and self.fence == attempt.fence

    def finish(self, verdict: Verdict) -> None:
        self.state, self.verdict, self.prior = JobState.DONE, verdict, None
        self.events.append("finished")
        self.told += [verdict] * self.hooks
        self.hooks = 0

    def crash(self) -> None:
        """Its worker was lost."""
        if self.cancelled:
            self.finish(Verdict.CANCELLED)
        elif self.attempts - self.released >= 3:
            self.dead = True
            self.finish(Verdict.ERRORED)
        else:
            self.requeue()

    def requeue(self) -> None:
        self.state = JobState.QUEUED
        self.events.append("requeued")


class LedgerMachine(RuleBasedStateMachine):
    """Producers, workers, a reaper and the passing of time, all at once."""

    attempts: Bundle[Attempt] = Bundle("attempts")

    redis: ClassVar[Redis]

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.ledger = Ledger(self.redis, result_ttl_s=600)
        self.jobs: dict[str, Model] = {}
        self.results = self.submits = 0
        self.image = ""
        self.highest = 0
        self.told: list[Verdict] = []

    @rule(job_id=ids, queue=queues, hooked=st.booleans())
    def submit(self, job_id: str, queue: str, hooked: bool) -> None:
        found = self.jobs.get(job_id)
        self.submits += 1
        url = f"https://host/{self.submits}" if hooked else None
        submitted = self.ledger.submit(JOBS[job_id], queue, url)
        if found is not None and found.state is JobState.RUNNING and found.cancelled:
            assert submitted is SubmitOutcome.CANCELLING
        elif found is not None and found.state is not JobState.DONE:
            assert submitted is SubmitOutcome.JOINED
            found.queue = queue
            found.hooks += hooked
        elif found is not None and found.reusable and found.digest in ("", self.image):
            assert submitted is SubmitOutcome.REUSED
            assert found.verdict is not None
            self.told += [found.verdict] * hooked
        else:
            assert submitted is SubmitOutcome.NEW
            prior = found.result if found is not None and found.reusable else None
            self.jobs[job_id] = Model(queue, prior=prior, hooks=int(hooked), told=self.told)

    @rule(digest=digests)
    def image_is_resolved_or_forgotten(self, digest: str) -> None:
        self.image = digest
        if digest:
            self.ledger.resolved(DEFAULT_IMAGE, digest)
        else:
            self.redis.delete(image_key(DEFAULT_IMAGE))

    @rule(target=attempts, job_id=ids, worker=workers)
    def claim(self, job_id: str, worker: str) -> Any:
        found = self.jobs.get(job_id)
        if found is None:
            with pytest.raises(UnknownJob):
                self.ledger.claim(job_id, worker)
            return multiple()
        if found.state is JobState.RUNNING and found.worker == worker:
            again = self.ledger.claim(job_id, worker)
            assert again == Attempt(job_id, found.fence, found.attempts)
            found.ended = False
            return multiple()
        busy = any(j.state is JobState.RUNNING and j.worker == worker for j in self.jobs.values())
        if busy:  # a process does one job at a time
            return multiple()
        attempt = self.ledger.claim(job_id, worker)
        if found.state is not JobState.QUEUED:
            assert attempt is None
            return multiple()
        assert attempt is not None
        assert attempt.fence > self.highest
        self.highest = found.fence = attempt.fence
        found.attempts += 1
        found.state, found.worker, found.ended = JobState.RUNNING, worker, False
        found.events.append("started")
        assert attempt == Attempt(job_id, found.fence, found.attempts)
        return attempt

    @rule(worker=workers)
    def worker_dies(self, worker: str) -> None:
        held = [
            i for i, j in self.jobs.items() if j.state is JobState.RUNNING and j.worker == worker
        ]
        assert self.ledger.abandon(worker) == (held[0] if held else None)
        for job_id in held:
            self.jobs[job_id].crash()

    @rule(job_id=ids)
    def retry(self, job_id: str) -> None:
        found = self.jobs.get(job_id)
        if found is None or not found.dead:
            with pytest.raises(UnknownJob):
                self.ledger.retry(job_id)
            return
        self.ledger.retry(job_id)
        self.jobs[job_id] = Model(found.queue, told=self.told)

    @rule(attempt=attempts)
    def append(self, attempt: Attempt) -> None:
        found = self.jobs[attempt.job_id]
        self.ledger.append(attempt, "output", "{}")
        if found.may_go_on(attempt):
            found.events.append("output")

    @rule(job_id=ids)
    def lease_ends(self, job_id: str) -> None:
        found = self.jobs.get(job_id)
        if found is not None and found.state is JobState.RUNNING:
            self.redis.zadd(RUNNING_KEY, {job_id: 1}, xx=True)
            found.ended = True

    @rule(attempt=attempts)
    def beat(self, attempt: Attempt) -> None:
        found = self.jobs[attempt.job_id]
        busy = any(
            j.state is JobState.RUNNING and j.worker == found.worker and j is not found
            for j in self.jobs.values()
        )
        if busy:  # its process has another job by now: it is no attempt of a living one
            return
        if found.may_go_on(attempt):
            assert self.ledger.beat(attempt) is found.cancelled
            found.state, found.ended = JobState.RUNNING, False
        else:
            with pytest.raises(LeaseLost):
                self.ledger.beat(attempt)

    @rule(
        attempt=attempts,
        verdict=st.sampled_from(Verdict),
        reusable=st.booleans(),
        digest=digests,
    )
    def finish(self, attempt: Attempt, verdict: Verdict, reusable: bool, digest: str) -> None:
        found = self.jobs[attempt.job_id]
        self.results += 1
        result = f'{{"number": {self.results}}}'
        if found.may_go_on(attempt):
            self.ledger.finish(attempt, verdict, result, reusable=reusable, image_digest=digest)
            found.finish(verdict)
            found.result, found.reusable, found.recorded = result, reusable, True
            found.digest = digest
        elif found.recorded and found.fence == attempt.fence:
            self.ledger.finish(attempt, verdict, result, reusable=reusable, image_digest=digest)
        else:
            with pytest.raises(LeaseLost):
                self.ledger.finish(attempt, verdict, result, reusable=reusable, image_digest=digest)

    @rule(attempt=attempts)
    def release(self, attempt: Attempt) -> None:
        found = self.jobs[attempt.job_id]
        owned = found.owns(attempt)
        assert self.ledger.release(attempt, "why") is owned
        if owned:
            found.fence = -1
            if found.cancelled:
                found.finish(Verdict.CANCELLED)
            else:
                found.released += 1
                found.requeue()

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        found = self.jobs.get(job_id)
        if found is None:
            with pytest.raises(UnknownJob):
                self.ledger.cancel(job_id)
            return
        assert self.ledger.cancel(job_id) is found.state
        if found.state is JobState.QUEUED:
            found.cancelled = True
            found.finish(Verdict.CANCELLED)
        elif found.state is JobState.RUNNING and not found.cancelled:
            found.cancelled = True
            found.events.append("cancelling")

    @rule(judge=st.booleans())
    def reap(self, judge: bool) -> None:
        ended = {
            i: f.worker for i, f in self.jobs.items() if f.state is JobState.RUNNING and f.ended
        }
        reaped = self.ledger.reap(judge=judge, overdue_s=86_400)
        assert sorted(reaped.lost) == (sorted(ended.items()) if judge else [])
        for job_id in ended if judge else ():
            self.jobs[job_id].crash()

    @rule(delivered=st.booleans())
    def deliver(self, delivered: bool) -> None:
        """Deliver everything that is due, by a worker that may be lost before it reports."""
        taken = take(self.ledger, 1_000, lease_s=0)
        assert sorted(delivery.verdict for delivery in taken) == sorted(self.told)
        for delivery in taken if delivered else ():
            settle(self.ledger, delivery, Outcome.DELIVERED)
            self.told.remove(Verdict(delivery.verdict))

    @invariant()
    def the_ledger_holds_what_the_model_does(self) -> None:
        pipe: Any = self.redis.pipeline()
        pipe.zrange(QUEUED_KEY, 0, -1).zrange(RUNNING_KEY, 0, -1).zrange(DEAD_KEY, 0, -1)
        pipe.hgetall("revalid:held").smembers("revalid:active:default")
        pipe.zcard("revalid:deliveries").zrange(lane_key(Lane.INTERACTIVE), 0, -1)
        for job_id in self.jobs:
            pipe.hgetall(job_key(job_id)).ttl(job_key(job_id)).ttl(events_key(job_id))
            pipe.xrange(events_key(job_id)).scard(f"revalid:hooks:{job_id}")
        queued, running, dead, held, active, deliveries, lane, *rest = pipe.execute()
        assert lane == queued, "in one lane, by the same times"
        assert deliveries == len(self.told)
        assert sorted(dead) == sorted(job_id for job_id, found in self.jobs.items() if found.dead)
        under_way = {
            job_id for job_id, found in self.jobs.items() if found.state is not JobState.DONE
        }
        assert active == under_way, "so few jobs never wait for their turn"
        runs = {f.worker: i for i, f in self.jobs.items() if f.state is JobState.RUNNING}
        assert held == runs
        for state, members in ((JobState.QUEUED, queued), (JobState.RUNNING, running)):
            expected = [job_id for job_id, found in self.jobs.items() if found.state is state]
            assert sorted(members) == sorted(expected)
        for found in self.jobs.values():
            (fields, ttl, events_ttl, entries, hooks), rest = rest[:5], rest[5:]
            assert hooks == found.hooks
            record = decode_record(fields)
            for name in COMPARED:
                assert getattr(record, name) == getattr(found, name), name
            done = found.state is JobState.DONE
            assert (ttl > 0, events_ttl > 0, record.finished_at is not None) == (done, done, done)
            assert (record.started_at is not None) is ("started" in found.events)
            assert [entry["type"] for _, entry in entries] == found.events


def test_the_ledger_does_what_its_model_does(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LedgerMachine, "redis", redis, raising=False)
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(max_examples=250, stateful_step_count=30, deadline=None, database=None),
    )
