"""Batches in Redis, and the copy on disk that outlives it."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from revalid.jobs.errors import UnknownJob
from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.state import BatchStore, Plan

PLAN = Plan(
    id="ab12",
    source="apps",
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    options={"commands": ["true"], "limits": {"command_timeout_s": 5}},
    fresh=True,
    entries=[
        BatchItem(project=f"app-{number}", origin=f"/apps/{number}") for number in range(2_500)
    ],
)


@pytest.fixture
def store(redis: Redis, tmp_path: Path) -> BatchStore:
    return BatchStore(redis, tmp_path, ttl_s=600)


def test_a_plan_round_trips(store: BatchStore) -> None:
    store.create(PLAN)
    assert store.plan("ab12") == PLAN
    assert store.latest() == ["ab12"]


def test_a_plan_survives_the_loss_of_redis_data(store: BatchStore, redis: Redis) -> None:
    store.create(PLAN)
    redis.flushall()
    assert store.latest() == []
    assert store.plan("ab12") == PLAN
    assert store.latest() == ["ab12"]


@pytest.mark.parametrize("batch_id", ["nobody", "../ab12", ""])
def test_an_unknown_batch_is_reported(store: BatchStore, batch_id: str) -> None:
    with pytest.raises(UnknownJob, match="no batch has this id: `revalid batch list`"):
        store.plan(batch_id)


def test_outcomes_of_submits_are_kept(store: BatchStore) -> None:
    store.create(PLAN)
    store.record_submits("ab12", {0: "j0", 2: "j2"}, {1: "unreadable"})
    store.record_submits("ab12", {}, {})
    assert (store.jobs("ab12"), store.errors("ab12")) == ({0: "j0", 2: "j2"}, {1: "unreadable"})
    store.record_submits("ab12", {1: "j1"}, {})
    assert store.errors("ab12") == {}


def test_a_project_can_be_run_again(store: BatchStore) -> None:
    store.create(PLAN)
    store.record_submits("ab12", {0: "j0", 2: "j2"}, {1: "unreadable"})
    store.again("ab12", [0, 1])
    store.again("ab12", [1])
    assert (store.jobs("ab12"), store.errors("ab12")) == ({2: "j2"}, {})
    assert store.rounds("ab12") == {0: 1, 1: 2}


def test_all_of_a_batch_expires(store: BatchStore, redis: Redis) -> None:
    store.create(PLAN)
    store.record_submits("ab12", {0: "j0"}, {1: "e"})
    store.again("ab12", [0])
    keys = redis.keys("revalid:batch:*")
    assert len(keys) == 4
    assert all(0 < redis.ttl(key) <= 600 for key in keys)
    redis.delete(*keys)
    assert store.latest() == []
    assert redis.exists("revalid:batches") == 0


def test_a_cancelled_batch_can_be_resumed(store: BatchStore) -> None:
    store.create(PLAN)
    assert not store.is_cancelled("ab12")
    store.cancel("ab12")
    assert store.is_cancelled("ab12")
    assert store.plan("ab12") == PLAN
    store.go_on("ab12")
    assert not store.is_cancelled("ab12")


def test_a_list_needs_no_projects(store: BatchStore) -> None:
    store.create(PLAN)
    store.record_submits("ab12", {0: "j0"}, {1: "unreadable"})
    head = store.head("ab12")
    assert head is not None
    assert (head.projects, head.submitted, head.source) == (2_500, 1, "apps")
    assert store.head("nobody") is None


def test_old_copies_leave_the_disk(store: BatchStore, tmp_path: Path) -> None:
    old = {name: tmp_path / name for name in ("old.json", "old.part", "used.json", "notes.txt")}
    for file in old.values():
        file.write_text("{}")
        os.utime(file, (time.time() - 700,) * 2)
    store.go_on("used")
    store.create(PLAN)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"ab12.json", "used.json", "notes.txt"}
