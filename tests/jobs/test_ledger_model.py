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

from jobs.errors import LeaseLost, UnknownJob
from jobs.ledger import (
    QUEUED_KEY,
    RUNNING_KEY,
    Attempt,
    Ledger,
    State,
    Submitted,
    decode_record,
    events_key,
    job_key,
)
from jobs.result import Verdict
from tests.jobs.samples import make_job

JOBS = {job.id: job for job in (make_job(nonce=str(number)) for number in range(3))}
ids = st.sampled_from(list(JOBS))
queues = st.sampled_from(["q", "r"])
workers = st.sampled_from(["host:1", "host:2"])


@dataclass
class Model:
    """What the ledger has to hold of one job."""

    queue: str
    fence: int = 0
    state: State = State.QUEUED
    attempts: int = 0
    worker: str = ""
    cancelled: bool = False
    verdict: Verdict | None = None
    result: str | None = None
    reusable: bool = False
    ended: bool = False
    events: list[str] = field(default_factory=lambda: ["queued"])

    def may_go_on(self, attempt: Attempt) -> bool:
        return self.state is not State.DONE and self.fence == attempt.fence

    def owns(self, attempt: Attempt) -> bool:
        return self.state is State.RUNNING and self.fence == attempt.fence

    def finish(self, verdict: Verdict) -> None:
        self.state, self.verdict = State.DONE, verdict
        self.events.append("finished")

    def requeue(self) -> None:
        self.state = State.QUEUED
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
        self.results = 0

    @rule(job_id=ids, queue=queues)
    def submit(self, job_id: str, queue: str) -> None:
        found = self.jobs.get(job_id)
        submitted = self.ledger.submit(JOBS[job_id], queue)
        if found is not None and found.state is not State.DONE:
            assert submitted is Submitted.JOINED
            found.queue = queue
        elif found is not None and found.reusable:
            assert submitted is Submitted.REUSED
        else:
            assert submitted is Submitted.NEW
            self.jobs[job_id] = Model(queue, fence=found.fence + 1 if found else 0)

    @rule(target=attempts, job_id=ids, worker=workers)
    def claim(self, job_id: str, worker: str) -> Any:
        found = self.jobs.get(job_id)
        if found is None:
            with pytest.raises(UnknownJob):
                self.ledger.claim(job_id, worker)
            return multiple()
        attempt = self.ledger.claim(job_id, worker)
        if found.state is State.DONE or (found.state is State.RUNNING and not found.ended):
            assert attempt is None
            return multiple()
        found.fence, found.attempts = found.fence + 1, found.attempts + 1
        found.state, found.worker, found.ended = State.RUNNING, worker, False
        found.events.append("started")
        assert attempt == Attempt(job_id, found.fence, found.attempts)
        return attempt

    @rule(job_id=ids)
    def lease_ends(self, job_id: str) -> None:
        found = self.jobs.get(job_id)
        if found is not None and found.state is State.RUNNING:
            self.redis.zadd(RUNNING_KEY, {job_id: 1}, xx=True)
            found.ended = True

    @rule(attempt=attempts)
    def beat(self, attempt: Attempt) -> None:
        found = self.jobs[attempt.job_id]
        if found.may_go_on(attempt):
            assert self.ledger.beat(attempt) is found.cancelled
            found.state, found.ended = State.RUNNING, False
        else:
            with pytest.raises(LeaseLost):
                self.ledger.beat(attempt)

    @rule(attempt=attempts, verdict=st.sampled_from(Verdict), reusable=st.booleans())
    def finish(self, attempt: Attempt, verdict: Verdict, reusable: bool) -> None:
        found = self.jobs[attempt.job_id]
        self.results += 1
        result = f'{{"number": {self.results}}}'
        if found.may_go_on(attempt):
            self.ledger.finish(attempt, verdict, result, reusable=reusable)
            found.finish(verdict)
            found.result, found.reusable = result, reusable
        else:
            with pytest.raises(LeaseLost):
                self.ledger.finish(attempt, verdict, result, reusable=reusable)

    @rule(attempt=attempts)
    def release(self, attempt: Attempt) -> None:
        found = self.jobs[attempt.job_id]
        owned = found.owns(attempt)
        assert self.ledger.release(attempt) is owned
        if owned:
            found.fence += 1
            found.requeue()

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        found = self.jobs.get(job_id)
        if found is None:
            with pytest.raises(UnknownJob):
                self.ledger.cancel(job_id)
            return
        assert self.ledger.cancel(job_id) is found.state
        if found.state is State.QUEUED:
            found.cancelled = True
            found.finish(Verdict.CANCELLED)
        elif found.state is State.RUNNING:
            found.cancelled = True
            found.events.append("cancelling")

    @rule(everything=st.booleans())
    def reap(self, everything: bool) -> None:
        waiting = [
            i for i, found in self.jobs.items() if found.state is State.QUEUED and everything
        ]
        ended = [i for i, f in self.jobs.items() if f.state is State.RUNNING and f.ended]
        for job_id in ended:
            self.jobs[job_id].requeue()
        returned = self.ledger.reap(0 if everything else 86_400)
        assert [sorted(found) for found in returned] == [sorted(ended), sorted(waiting)]

    @invariant()
    def the_ledger_holds_what_the_model_does(self) -> None:
        pipe: Any = self.redis.pipeline()
        pipe.zrange(QUEUED_KEY, 0, -1).zrange(RUNNING_KEY, 0, -1)
        for job_id in self.jobs:
            pipe.hgetall(job_key(job_id)).ttl(job_key(job_id)).ttl(events_key(job_id))
            pipe.xrange(events_key(job_id))
        queued, running, *rest = pipe.execute()
        for state, members in ((State.QUEUED, queued), (State.RUNNING, running)):
            expected = [job_id for job_id, found in self.jobs.items() if found.state is state]
            assert sorted(members) == sorted(expected)
        for found in self.jobs.values():
            (fields, ttl, events_ttl, entries), rest = rest[:4], rest[4:]
            record = decode_record(fields)
            for name in ("queue", "state", "attempts", "worker", "cancelled", "verdict", "result"):
                assert getattr(record, name) == getattr(found, name), name
            done = found.state is State.DONE
            assert (ttl > 0, events_ttl > 0, record.finished_at is not None) == (done, done, done)
            assert (record.started_at is not None) is ("started" in found.events)
            assert [entry["type"] for _, entry in entries] == found.events


def test_the_ledger_does_what_its_model_does(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LedgerMachine, "redis", redis, raising=False)
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(max_examples=250, stateful_step_count=30, deadline=None, database=None),
    )
