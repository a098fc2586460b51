"""Finished results: kept until the ledger has them."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from revalid.jobs.connection import connect
from revalid.jobs.errors import BrokerUnavailable
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt, JobState
from revalid.jobs.result import JobResult, Verdict
from revalid.worker.outbox import STALE_S, Outbox
from tests.jobs.ledgers import JOB, claim

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RESULT = JobResult(
    id=JOB.id,
    verdict=Verdict.FAILED,
    image="",
    attempts=1,
    queued_at=NOW,
    started_at=NOW,
    finished_at=NOW,
)


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    made = Ledger(redis)
    made.submit(JOB, "q")
    return made


@pytest.fixture
def attempt(ledger: Ledger) -> Attempt:
    return claim(ledger)


def kept(home: Path) -> list[Path]:
    return list(home.glob("unrecorded/*/*"))


def age(home: Path) -> None:
    for path in kept(home):
        os.utime(path, (path.stat().st_mtime - 2 * STALE_S,) * 2)


def test_a_result_is_kept_until_it_is_recorded(
    ledger: Ledger, attempt: Attempt, valkey_url: str, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path, ledger, valkey_url)
    pending = outbox.put(attempt, RESULT)
    assert len(kept(tmp_path)) == 1
    assert outbox.deliver(pending)
    record = ledger.record(JOB.id)
    assert (record.state, record.verdict) == (JobState.DONE, Verdict.FAILED)
    assert JobResult.model_validate_json(str(record.result)) == RESULT
    assert kept(tmp_path) == []


def test_a_result_is_kept_while_no_broker_answers(
    attempt: Attempt, ledger: Ledger, tmp_path: Path
) -> None:
    url = f"unix://{tmp_path}/none.sock"
    with connect(url) as gone:
        outbox = Outbox(tmp_path, Ledger(gone), url)
        pending = outbox.put(attempt, RESULT)
        with pytest.raises(BrokerUnavailable):
            outbox.deliver(pending)
    assert len(kept(tmp_path)) == 1
    age(tmp_path)
    Outbox(tmp_path, ledger, "redis://another").flush()
    assert ledger.record(JOB.id).state is JobState.RUNNING, "it is for another broker"
    Outbox(tmp_path, ledger, url).flush()
    assert ledger.record(JOB.id).verdict is Verdict.FAILED
    assert kept(tmp_path) == []


def test_a_young_result_is_left_to_its_own_process(
    ledger: Ledger, attempt: Attempt, valkey_url: str, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path, ledger, valkey_url)
    outbox.put(attempt, RESULT)
    outbox.flush()
    assert ledger.record(JOB.id).state is JobState.RUNNING


def test_a_result_that_came_too_late_is_dropped(
    ledger: Ledger, attempt: Attempt, valkey_url: str, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path, ledger, valkey_url)
    pending = outbox.put(attempt, RESULT)
    ledger.release(attempt, "why")
    assert not outbox.deliver(pending)
    assert ledger.record(JOB.id).state is JobState.QUEUED
    assert kept(tmp_path) == []


def test_half_a_result_is_dropped(ledger: Ledger, valkey_url: str, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, ledger, valkey_url)
    outbox.put(claim(ledger), RESULT)
    (path,) = kept(tmp_path)
    full = path.read_text()
    path.write_text(full[:20])
    (path.parent / "future.json").write_text(full.replace('"failed"', '"future"'))
    (path.parent / "odd.json").mkdir()
    age(tmp_path)
    outbox.flush()
    assert [each.name for each in kept(tmp_path)] == ["odd.json"]
    assert ledger.record(JOB.id).state is JobState.RUNNING


def test_a_full_disk_does_not_prevent_recording_a_result(
    ledger: Ledger, attempt: Attempt, valkey_url: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.write_text("no directory can be made here")
    outbox = Outbox(home, ledger, valkey_url)
    with pytest.raises(NotADirectoryError):
        home.joinpath("x").stat()
    assert outbox.deliver(outbox.put(attempt, RESULT))
    assert ledger.record(JOB.id).verdict is Verdict.FAILED
