import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pytest

from revalid.jobs.errors import (
    BrokerUnavailable,
    InvalidJob,
    InvalidProject,
    InvalidSettings,
    ResultTimeout,
    StoreFull,
    UnknownJob,
)
from revalid.jobs.events import FinishedEvent
from revalid.jobs.job import Lane
from revalid.jobs.ledger.keys import job_key
from revalid.jobs.ledger.record import JobState, SubmitOutcome
from revalid.jobs.result import JobResult, StepResult, Verdict
from revalid.jobs.settings import Settings, load_settings
from revalid.jobs.source import TarballSource
from revalid.producer.async_client import AsyncClient
from revalid.producer.client import Client, JobHandle
from revalid.producer.submission import prepare

NOBODY = "redis://:hunter2@127.0.0.1:1/0"


def finish(handle: JobHandle, verdict: Verdict) -> JobResult:
    """Do a worker's part: claim the job and record a result."""
    ledger = handle.client._ledger
    attempt = ledger.claim(handle.id, "test")
    assert attempt is not None
    record = ledger.record(handle.id)
    result = JobResult(
        id=handle.id,
        verdict=verdict,
        image="busybox",
        attempts=attempt.number,
        queued_at=record.queued_at,
        started_at=record.started_at,
        finished_at=datetime.now(UTC),
        steps=(StepResult(name="check", exit_code=0, stdout="fine\n", stdout_bytes=5),),
    )
    text = result.model_dump_json()
    ledger.finish(attempt, verdict, text, reusable=verdict.judges_project)
    return result


def doorbells(client: Client, queue: str = "revalid.interactive") -> list[object]:
    rung = client._redis.lrange(queue, 0, -1)
    assert isinstance(rung, list)
    return [json.loads(message) for message in rung]


@pytest.fixture
def later() -> Iterator[list[threading.Thread]]:
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_submit_stores_the_project_and_rings_once(client: Client, project: Path) -> None:
    handle = client.submit(project, labels={"team": "a"})
    assert handle.outcome is SubmitOutcome.NEW
    record = handle._record()
    assert (record.state, record.queue) == (JobState.QUEUED, "revalid.interactive")
    job = json.loads(record.job)
    assert job["labels"] == {"team": "a"}
    source = TarballSource.model_validate(job["source"])
    assert client._redis.strlen(f"revalid:blob:{source.digest}") == source.size_bytes
    assert len(doorbells(client)) == 1


def test_the_message_says_only_which_job(client: Client, project: Path) -> None:
    handle = client.submit(project, env={"WORD": "unspoken"})
    with client._app.connection_for_read() as connection:
        queue = client._app.amqp.queues["revalid.interactive"].bind(connection.default_channel)
        message = queue.get(no_ack=True)
    assert message is not None
    args, kwargs, _ = message.payload
    assert (args, kwargs) == ([], {"message": {"v": 1, "job_id": handle.id}})
    assert "unspoken" not in json.dumps(message.headers)


def test_an_identical_submit_joins(client: Client, project: Path) -> None:
    first = client.submit(project)
    second = client.submit(project)
    assert (second.id, second.outcome) == (first.id, SubmitOutcome.JOINED)


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED])
def test_a_verdict_on_the_project_is_reused(
    client: Client, project: Path, verdict: Verdict
) -> None:
    first = client.submit(project)
    result = finish(first, verdict)
    rung = len(doorbells(client))
    again = client.submit(project)
    assert (again.id, again.outcome) == (first.id, SubmitOutcome.REUSED)
    assert again.result() == result.model_copy(update={"reused": True})
    assert client.job(first.id).result() == result
    assert len(doorbells(client)) == rung


@pytest.mark.parametrize("verdict", [Verdict.ERRORED, Verdict.REJECTED, Verdict.TIMED_OUT])
def test_any_other_verdict_runs_again(client: Client, project: Path, verdict: Verdict) -> None:
    finish(client.submit(project), verdict)
    assert client.submit(project).outcome is SubmitOutcome.NEW


def test_fresh_runs_again(client: Client, project: Path) -> None:
    first = client.submit(project)
    finish(first, Verdict.PASSED)
    fresh = client.submit(project, fresh=True)
    assert fresh.outcome is SubmitOutcome.NEW
    assert fresh.id != first.id


def test_many_are_sent_in_order_and_with_their_projects(
    client: Client, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revalid.producer.client._AT_ONCE", 2)
    lanes = [Lane.BATCH, Lane.BATCH, Lane.BATCH, Lane.INTERACTIVE, Lane.BATCH]
    with ExitStack() as stack:
        made = [
            stack.enter_context(prepare(client.settings, project, nonce=str(number), lane=lane))
            for number, lane in enumerate(lanes)
        ]
        handles = client.send_all([*made, made[0]])
    assert [handle.id for handle in handles] == [each.job.id for each in [*made, made[0]]]
    assert [handle.outcome for handle in handles] == [
        *[SubmitOutcome.NEW] * 5,
        SubmitOutcome.JOINED,
    ]
    assert [handle.status().queue for handle in handles[:5]] == [
        f"revalid.{name}" for name in lanes
    ]
    source = made[0].job.source
    assert isinstance(source, TarballSource)
    assert client._redis.strlen(f"revalid:blob:{source.digest}") == source.size_bytes


def test_a_queued_job_is_cancelled_at_once(client: Client, project: Path) -> None:
    handle = client.submit(project)
    assert handle.cancel() is JobState.QUEUED
    result = handle.result(timeout_s=1)
    assert (result.verdict, result.error) == (Verdict.CANCELLED, "cancelled before it ran")
    assert [event.type for event in handle.events()] == ["queued", "finished"]
    assert client._ledger.claim(handle.id, "test") is None
    assert handle.cancel() is JobState.DONE


def test_the_next_heartbeat_reports_a_cancel(client: Client, project: Path) -> None:
    handle = client.submit(project)
    attempt = client._ledger.claim(handle.id, "test")
    assert attempt is not None
    assert client._ledger.beat(attempt) is False
    assert handle.cancel() is JobState.RUNNING
    assert client._ledger.beat(attempt) is True


def test_events_come_in_order_and_resume_after_any(client: Client, project: Path) -> None:
    handle = client.submit(project)
    finish(handle, Verdict.PASSED)
    found = list(handle.events())
    assert [event.type for event in found] == ["queued", "started", "finished"]
    assert found[-1] == FinishedEvent(found[-1].id, {"verdict": "passed"})
    assert list(handle.events(after=found[0].id)) == found[1:]


def test_result_waits_until_the_job_is_done(
    client: Client, project: Path, later: list[threading.Thread]
) -> None:
    handle = client.submit(project)
    events = handle.events()
    assert next(events).type == "queued"
    later.append(threading.Thread(target=finish, args=(handle, Verdict.PASSED)))
    later[0].start()
    assert handle.result(timeout_s=20).verdict is Verdict.PASSED
    assert [event.type for event in events] == ["started", "finished"]


def test_result_gives_up_after_its_time(client: Client, project: Path) -> None:
    handle = client.submit(project)
    with pytest.raises(ResultTimeout, match=rf"{handle.id} is still queued"):
        handle.result(timeout_s=0.01)


def test_a_result_of_another_version_is_refused_with_a_message(
    client: Client, project: Path
) -> None:
    handle = client.submit(project)
    attempt = client._ledger.claim(handle.id, "test")
    assert attempt is not None
    client._ledger.finish(attempt, Verdict.PASSED, '{"schema_version": 2}', reusable=True)
    with pytest.raises(InvalidJob, match="another version of revalid"):
        handle.result()


def test_an_unknown_job_is_named(client: Client) -> None:
    handle = client.job("0" * 32)
    for ask in (handle.status, handle.result, handle.cancel, lambda: next(handle.events())):
        with pytest.raises(UnknownJob, match="0" * 32):
            ask()


def test_a_job_can_be_sent_to_one_kind_of_worker(client: Client, project: Path) -> None:
    with prepare(client.settings, project) as submission:
        handle = client.send(submission, worker="cafe")
        assert handle.status().queue == "revalid.cafe.interactive"
        assert len(doorbells(client, "revalid.cafe.interactive")) == 1
        assert client.send(submission).outcome is SubmitOutcome.JOINED
    assert handle.status().queue == "revalid.interactive"


def test_nothing_is_stored_for_a_wrong_job(client: Client, project: Path) -> None:
    with pytest.raises(InvalidJob):
        client.submit(project, image="NO")
    with pytest.raises(InvalidProject):
        client.submit(b"no tarball")
    assert client._redis.keys("revalid*") == []


def test_a_large_project_goes_to_the_object_store(
    settings: Settings, project: Path, tmp_path: Path
) -> None:
    small = settings.model_copy(update={"blob_redis_bytes": 10})
    with Client(small) as client:
        with pytest.raises(InvalidProject, match="REVALID_BLOB_URL"):
            client.submit(project)
        assert client._redis.keys("revalid:job:*") == []
    update = {"embedded": True, "home": tmp_path / "home"}
    with Client(small.model_copy(update=update)) as client:
        source = json.loads(client.submit(project)._record().job)["source"]
        client._blobs.fetch(source["digest"], tmp_path / "fetched")
        assert client._redis.keys("revalid:blob:*") == []
    assert (tmp_path / "fetched").stat().st_size == source["size_bytes"]
    assert any((tmp_path / "home" / "blobs").iterdir())


def test_a_project_above_its_tenants_bytes_is_refused_before_it_is_stored(
    settings: Settings, project: Path
) -> None:
    with Client(settings) as first:
        size = json.loads(first.submit(project)._record().job)["source"]["size_bytes"]
    (project / "more.txt").write_text("more")
    bound = settings.model_copy(update={"tenant_blob_bytes": 2 * size})
    with Client(bound) as client:
        with pytest.raises(StoreFull, match="REVALID_TENANT_BLOB_BYTES"):
            client.submit(project)
        assert len(client._redis.keys("revalid:blob:*")) == 1
        assert len(client._redis.keys("revalid:job:*")) == 1
        assert client.submit(project, tenant="other").outcome is SubmitOutcome.NEW


def test_a_dropped_project_is_uploaded_again_by_each_submit(client: Client, project: Path) -> None:
    handle = client.submit(project)
    (blob,) = client._redis.keys("revalid:blob:*")
    for fresh in (False, True):
        handle.cancel()
        client._redis.zadd("revalid:projects", dict.fromkeys(projects(client), 1))
        client._ledger.reap(judge=False, overdue_s=30)
        assert not client._redis.exists(blob)
        handle = client.submit(project, fresh=fresh)
        assert handle.outcome is SubmitOutcome.NEW
        assert client._redis.exists(blob)


@pytest.mark.parametrize("many", [False, True])
def test_a_project_that_is_dropped_before_its_job_is_recorded_is_uploaded_again(
    client: Client, project: Path, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    put, puts = client._blobs.put, 0

    def goes_at_first(file: IO[bytes], digest: str, size: int) -> None:
        nonlocal puts
        puts += 1
        put(file, digest, size)
        if puts == 1:
            client._redis.delete(f"revalid:blob:{digest}")

    monkeypatch.setattr(client._blobs, "put", goes_at_first)
    with prepare(client.settings, project) as submission:
        (handle,) = client.send_all([submission]) if many else [client.send(submission)]
    assert handle.outcome is SubmitOutcome.NEW
    assert len(client._redis.keys("revalid:blob:*")) == 1


def projects(client: Client) -> list[str]:
    return [str(word) for word in client._redis.zrange("revalid:projects", 0, -1)]


def test_an_unreachable_broker_is_named_without_its_password(project: Path) -> None:
    settings = load_settings({"REVALID_BROKER_URL": NOBODY}, env_file=None)
    with Client(settings) as client, pytest.raises(BrokerUnavailable) as caught:
        client.submit(project)
    assert "redis://:***@127.0.0.1:1/0 cannot be reached" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_client_needs_a_broker() -> None:
    with pytest.raises(InvalidSettings, match="REVALID_BROKER_URL is not set"):
        Client(load_settings({}, env_file=None))
    with pytest.raises(InvalidSettings, match="REVALID_BROKER_URL"):
        Client(load_settings({"REVALID_BROKER_URL": "http://x"}, env_file=None))


async def test_async_client_does_the_same(settings: Settings, project: Path) -> None:
    async with AsyncClient(settings) as client:
        await client.ping()
        handle = await client.submit(project)
        assert handle.outcome is SubmitOutcome.NEW
        events = handle.events()
        assert (await anext(events)).type == "queued"
        with pytest.raises(ResultTimeout):
            await handle.result(timeout_s=0.01)
        result = finish(client.sync.job(handle.id), Verdict.FAILED)
        assert [event.type async for event in events] == ["started", "finished"]
        assert await handle.result() == result
        again = await client.submit(project)
        assert (await again.result()).reused
        assert await again.cancel() is JobState.DONE
        assert (await client.job(handle.id).status()).verdict is Verdict.FAILED


async def test_async_client_cancels_and_names_what_is_missing(
    settings: Settings, project: Path
) -> None:
    async with AsyncClient(settings) as client:
        handle = await client.submit(project)
        assert await handle.cancel() is JobState.QUEUED
        assert (await handle.result()).verdict is Verdict.CANCELLED
        with pytest.raises(UnknownJob):
            await client.job("0" * 32).result()
    nobody = load_settings({"REVALID_BROKER_URL": NOBODY}, env_file=None)
    async with AsyncClient(nobody) as client:
        with pytest.raises(BrokerUnavailable):
            await client.ping()


def give_back(handle: JobHandle) -> None:
    """A worker's part: claim the job, begin a step, and return it to the queue."""
    ledger = handle.client._ledger
    attempt = ledger.claim(handle.id, "test")
    assert attempt is not None
    ledger.append(attempt, "step_started", json.dumps({"index": 0, "name": "slow", "command": "x"}))
    ledger.append(
        attempt, "output", json.dumps({"index": 0, "stream": "stdout", "text": "so far\n"})
    )
    ledger.release(attempt, "its worker stops")


def test_a_job_cancelled_while_it_waits_again_says_what_it_did(
    client: Client, project: Path
) -> None:
    handle = client.submit(project, commands=["x"])
    give_back(handle)
    handle.cancel()
    found = handle.result()
    assert found.verdict is Verdict.CANCELLED
    assert found.error == (
        "cancelled while it waited to run again; attempt 1 did not finish: its worker stops"
    )
    assert [(s.name, s.stdout, s.outcome) for s in found.steps] == [
        ("slow", "so far\n", "its end was not seen")
    ]
    assert found.notes == (
        "attempt 1 recorded no result: steps and output are those that it sent while it ran",
    )
    assert (found.attempts, found.started_at, found.duration_s) == (1, None, None)


async def test_the_async_client_reports_the_same(settings: Settings, project: Path) -> None:
    async with AsyncClient(settings) as there:
        handle = await there.submit(project, commands=["x"])
        give_back(JobHandle(handle.id, there.sync))
        await handle.cancel()
        assert [step.stdout for step in (await handle.result()).steps] == ["so far\n"]


def test_a_job_that_waited_has_no_duration(client: Client, project: Path) -> None:
    handle = client.submit(project, commands=["x"])
    client._redis.hincrby(job_key(handle.id), "queued_at", -90_000)
    handle.cancel()
    found = handle.result()
    assert (found.error, found.steps, found.duration_s) == ("cancelled before it ran", (), None)
    assert 90 <= found.queued_s < 150
