"""The order of doorbells, compared with the turns that docs/reliability.md promises."""

from collections import defaultdict
from itertools import count
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from revalid.jobs.ledger.keys import serving_key
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt, Doorbell
from revalid.jobs.result import Verdict
from tests.jobs.samples import make_job
from tests.jobs.scripts import change

BATCH, INTERACTIVE = "revalid.batch", "revalid.interactive"
BOUND = 1
RINGING = 2
SLOTS, KEPT = 6, 2
choices = st.integers(0, 99)
queues = st.sampled_from([BATCH, INTERACTIVE])


class Turns:
    """The promised order, found by examining every tenant each time."""

    def __init__(self) -> None:
        self.turns = count()
        self.tenants: dict[str, dict[str, int]] = defaultdict(dict)
        self.waiting: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self.ringing: dict[str, set[str]] = defaultdict(set)
        self.flight: dict[str, set[str]] = defaultdict(set)
        self.active: dict[str, set[str]] = defaultdict(set)
        self.rung: list[str] = []

    def wait(self, job_id: str, queue: str, tenant: str, turn: int) -> None:
        self.waiting[queue, tenant][job_id] = turn
        self.tenants[queue].setdefault(tenant, next(self.turns))

    def leave(self, job_id: str, queue: str, tenant: str) -> None:
        self.ringing[queue].discard(job_id)
        self.flight[queue].discard(job_id)
        self.active[tenant].discard(job_id)
        waiting = self.waiting[queue, tenant]
        if waiting.pop(job_id, None) is not None and not waiting:
            del self.tenants[queue][tenant]

    def dispatch(self, queue: str) -> None:
        room = RINGING - len(self.ringing[queue])
        if queue == BATCH:
            room = min(room, SLOTS - KEPT - len(self.flight[queue]))
        while room > 0:
            turns = self.tenants[queue]
            may = [name for name in turns if len(self.active[name]) < BOUND]
            if not may:
                return
            tenant = min(may, key=turns.__getitem__)
            waiting = self.waiting[queue, tenant]
            job_id = min(waiting, key=waiting.__getitem__)
            del waiting[job_id], turns[tenant]
            if waiting:
                turns[tenant] = next(self.turns)
            self.ringing[queue].add(job_id)
            self.flight[queue].add(job_id)
            self.active[tenant].add(job_id)
            self.rung.append(job_id)
            room -= 1

    def refill(self, queue: str) -> None:
        if queue == BATCH:
            self.dispatch(INTERACTIVE)
        self.dispatch(queue)


class TurnsMachine(RuleBasedStateMachine):
    """Jobs of few tenants come, run and end; few may ring or run at a time."""

    redis: ClassVar[Redis]

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.doorbells: list[Doorbell] = []
        self.workers = count()
        self.ledger = Ledger(
            self.redis, ring=self.doorbells.append, tenant_jobs=BOUND, interactive_slots=KEPT
        )
        self.redis.zadd(serving_key(BATCH), {f"{SLOTS} host:0": "inf"})
        self.model = Turns()
        self.jobs: dict[str, tuple[str, str, int]] = {}
        self.attempts: dict[str, tuple[Attempt, str]] = {}

    @initialize()
    def much_waits(self) -> None:
        for queue in (BATCH, INTERACTIVE):
            self.submit("aabbccdd", queue)

    @rule(tenants=st.text("abcd", min_size=1, max_size=8), queue=queues)
    def submit(self, tenants: str, queue: str) -> None:
        for tenant in tenants:
            number = len(self.jobs)
            job = make_job(tenant=tenant, nonce=str(number))
            self.jobs[job.id] = queue, tenant, number
            self.ledger.submit(job, queue)
            self.model.wait(job.id, queue, tenant, number)
            self.model.refill(queue)

    @rule(choice=choices, queue=queues)
    def claim(self, choice: int, queue: str) -> None:
        ringing = sorted(self.model.ringing[queue])
        if ringing:
            job_id = ringing[choice % len(ringing)]
            attempt = self.ledger.claim(job_id, worker := f"host:{next(self.workers)}")
            assert attempt is not None
            self.attempts[job_id] = attempt, worker
            self.model.ringing[queue].remove(job_id)
            self.model.refill(queue)

    @rule(choice=choices, how=st.sampled_from(["finish", "release", "dies"]))
    def ends(self, choice: int, how: str) -> None:
        if not self.attempts:
            return
        job_id = sorted(self.attempts)[choice % len(self.attempts)]
        attempt, worker = self.attempts.pop(job_id)
        queue, tenant, turn = self.jobs[job_id]
        self.model.leave(job_id, queue, tenant)
        if how == "finish":
            self.ledger.finish(attempt, Verdict.PASSED, "{}", reusable=True)
        elif how == "release":
            assert self.ledger.release(attempt, "why")
        else:
            assert self.ledger.abandon(worker) == job_id
        if how == "dies" and self.ledger.record(job_id).verdict is not None:  # for the third time
            how = "finish"
        if how != "finish":
            self.model.wait(job_id, queue, tenant, turn)
        self.model.refill(queue)

    @rule(choice=choices)
    def cancel(self, choice: int) -> None:
        queued = sorted(
            {job_id for waiting in self.model.waiting.values() for job_id in waiting}
            | self.model.ringing[BATCH]
            | self.model.ringing[INTERACTIVE]
        )
        if queued:
            job_id = queued[choice % len(queued)]
            queue, tenant, _ = self.jobs[job_id]
            self.ledger.cancel(job_id)
            self.model.leave(job_id, queue, tenant)
            self.model.refill(queue)

    @rule()
    def reap(self) -> None:
        self.ledger.reap(judge=True, overdue_s=60)
        for queue in (INTERACTIVE, BATCH):
            self.model.dispatch(queue)

    @invariant()
    def doorbells_ring_as_promised(self) -> None:
        assert [doorbell.job_id for doorbell in self.doorbells] == self.model.rung


def test_tenants_take_turns_whatever_happens(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, "local RINGING = 16", f"local RINGING = {RINGING}")
    monkeypatch.setattr(TurnsMachine, "redis", redis, raising=False)
    run_state_machine_as_test(
        TurnsMachine,
        settings=settings(max_examples=50, stateful_step_count=40, deadline=None, database=None),
    )
