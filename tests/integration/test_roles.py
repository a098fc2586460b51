"""The roles of deploy/users.acl: each can do its own work and nothing else."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from pydantic import SecretStr
from redis.exceptions import NoPermissionError

from revalid.jobs.connection import broker_errors, connect
from revalid.jobs.errors import BrokerUnavailable, UnknownJob
from revalid.jobs.ledger.deliveries import Outcome, settle, take
from revalid.jobs.ledger.keys import FINISHED_KEY
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt, JobState, SubmitOutcome
from revalid.jobs.queue import make_app
from revalid.jobs.result import Verdict
from revalid.jobs.settings import Settings, load_settings
from revalid.producer.archive.copier import copy_finished
from revalid.producer.archive.store import Archive
from revalid.producer.async_client import AsyncClient
from revalid.producer.client import Client
from tests.integration.composed import ACL, ROLES, ComposedRedis, composed_redis
from tests.integration.conftest import StartWorker, Worker, eventually
from tests.integration.flower import flower
from tests.jobs.samples import make_job

FOR_NOBODY = [
    "acl list",
    "append revalid:turn x",
    "bgrewriteaof",
    "client kill type normal",
    "client list",
    "copy revalid:turn revalid:other",
    "config get *",
    "config set maxmemory 1",
    "dbsize",
    "eval x 0",
    "flushall",
    "flushdb",
    "function flush",
    "get other",
    "hset unacked a b",
    "keys *",
    "module list",
    "monitor",
    "publish other x",
    "randomkey",
    "rename revalid:turn revalid:other",
    "replicaof no one",
    "sadd _kombu.binding.revalid.interactive x",
    "save",
    "scan 0",
    "script flush",
    "script kill",
    "set other x",
    "set revalid.interactive x",
    "shutdown",
    "sort revalid:queued",
]
FOR_NO_PRODUCER = [
    "brpop revalid.interactive 1",
    "del revalid.interactive",
    "get celery-task-meta-1",
    "get revalid:blob:1",
    "getex revalid:blob:1",
    "hgetall unacked",
    "lpush x.celery.pidbox x",
    "lrange revalid.interactive 0 -1",
    "psubscribe /0.celery.pidbox",
    "publish /0.celery.pidbox x",
    "publish /0.celeryev/worker.offline x",
    "sadd _kombu.binding.reply.celery.pidbox x",
    "set celery-task-meta-1 x",
    "subscribe celery-task-meta-1",
]
FOR_NO_WORKER = [
    "lpush other x",
    "psubscribe *",
    "sadd _kombu.binding.celeryev x",
    "xread streams revalid:events:1 0",
]
FOR_NO_FLOWER = [
    *FOR_NO_PRODUCER,
    "hgetall revalid:job:1",
    "hgetall revalid:hook:1",
    "info",
    "lpush revalid.interactive x",
    "set revalid:blob:1 x",
    "xread streams revalid:events:1 0",
]

FOR_NO_METRICS = [
    *FOR_NO_FLOWER,
    "get revalid:turn",
    "del revalid:running",
    "lrange revalid.batch 0 -1",
    "smembers revalid:hooks:1",
    "hgetall revalid:hook:1",
]
FOR_NO_ARCHIVE = [
    *(command for command in FOR_NO_METRICS if command != "hgetall revalid:job:1"),
    "del revalid:job:1",
    "hgetall revalid:held",
    "hset revalid:job:1 result x",
    "xadd revalid:finished * id 1",
    "xrange revalid:events:1 - +",
    "xtrim revalid:finished maxlen 0",
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedRedis]:
    """Yield the Redis of compose.yaml with its users."""
    with composed_redis(tmp_path_factory.mktemp("roles")) as running:
        yield running


def settings_of(broker: ComposedRedis, role: str) -> Settings:
    return load_settings({}, env_file=None, broker_url=broker.url(role))


@pytest.fixture
def producer(broker: ComposedRedis) -> Iterator[Client]:
    with Client(settings_of(broker, "producer")) as client:
        yield client


@pytest.fixture
def worker(broker: ComposedRedis, start_worker: StartWorker) -> Worker:
    return start_worker(REVALID_BROKER_URL=broker.url("worker"), REVALID_SANDBOX="local")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "file").write_text(tmp_path.name)  # so that no test is given another's verdict
    return directory


@pytest.mark.parametrize(
    ("role", "command"),
    [
        *((role, command) for role in ROLES for command in FOR_NOBODY),
        *(("producer", command) for command in FOR_NO_PRODUCER),
        *(("worker", command) for command in FOR_NO_WORKER),
        *(("flower", command) for command in FOR_NO_FLOWER),
        *(("metrics", command) for command in FOR_NO_METRICS),
        *(("archive", command) for command in FOR_NO_ARCHIVE),
    ],
)
def test_a_role_is_refused_other_work(broker: ComposedRedis, role: str, command: str) -> None:
    with connect(broker.url(role)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize("role", ["producer", "worker"])
def test_doctor_and_workers_may_read_the_server_version(broker: ComposedRedis, role: str) -> None:
    with connect(broker.url(role)) as client:
        assert isinstance(info := client.info("server"), dict)
    assert info["redis_version"]


def test_a_script_has_no_more_rights_than_its_user(broker: ComposedRedis) -> None:
    url = broker.url("flower")
    words = "does not allow the user flower .*users.acl"
    with connect(url) as client, pytest.raises(BrokerUnavailable, match=words), broker_errors(url):
        client.register_script("return redis.call('HGETALL', 'revalid:job:1')")()


def test_flower_removes_unused_bindings_as_celery_does(broker: ComposedRedis) -> None:
    url = broker.url("flower")
    with (
        connect(broker.url("worker")) as redis,
        make_app(settings_of(broker, "flower"), url) as app,
    ):
        redis.sadd("_kombu.binding.reply.celery.pidbox", "old")
        redis.zadd("_kombu.binding_deadlines", {"reply.celery.pidbox": 1, "celeryev": 1})
        with app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            assert channel.sweep_bindings() == 2
        assert not redis.exists("_kombu.binding.reply.celery.pidbox")


def test_the_file_as_it_ships_lets_nobody_in() -> None:
    users = [line.split() for line in ACL.read_text().splitlines()]
    assert [user[1] for user in users] == ["default", *ROLES]
    assert users[0][2:] == ["reset", "off"]
    assert not [rule for user in users for rule in user if re.match("[><#!]|nopass", rule)]


def test_a_job_goes_from_producer_to_worker_and_back(
    producer: Client, worker: Worker, project: Path
) -> None:
    handle = producer.submit(project, commands=["echo hello"], sandbox="local", idempotency_key="a")
    assert [event.type for event in handle.events()][-1] == "finished"
    assert handle.result(30).verdict is Verdict.PASSED

    again = producer.submit(project, commands=["sleep 60"], sandbox="local")
    for event in again.events():
        if event.type == "step_started":
            assert again.cancel() is JobState.RUNNING
    assert again.result(30).verdict is Verdict.CANCELLED

    async def follow() -> list[str]:
        async with AsyncClient(producer.settings) as client:
            job = await client.submit(project, commands=["echo other"], sandbox="local")
            return [event.type async for event in job.events()]

    assert asyncio.run(follow())[-1] == "finished"
    assert not re.search("(?i)permission|noperm", worker.log.read_text())


def test_a_role_may_run_the_scripts_of_its_work(broker: ComposedRedis) -> None:
    job, queue = make_job(tenant="roles"), "revalid.test"
    with connect(broker.url("producer")) as ours, connect(broker.url("worker")) as theirs:
        producer, worker = Ledger(ours), Ledger(theirs)

        def claim() -> Attempt:
            attempt = worker.claim(job.id, "host:1")
            assert attempt is not None
            return attempt

        def dies_with_its_worker() -> bool:
            worker.claim(job.id, "host:1", lease_s=0)
            worker.reap(judge=True, overdue_s=0)
            return producer.dead() == [job.id]

        assert worker.submit(job, queue, "https://host/") is SubmitOutcome.NEW
        worker.announce("host", [queue], slots=1)
        assert producer.serving(queue) == {"host"}
        eventually(dies_with_its_worker)
        producer.retry(job.id)
        assert producer.submit(job, queue, "https://host/") is SubmitOutcome.JOINED
        assert worker.release(claim(), "test")
        claim()
        assert worker.abandon("host:1") == job.id
        attempt = claim()
        assert worker.beat(attempt) is False
        worker.append(attempt, "output", "{}")
        worker.finish(attempt, Verdict.PASSED, "{}", reusable=False)
        assert worker.fail_unserved([queue], 0, "test") == []
        with pytest.raises(UnknownJob):
            producer.purge(job.id)
        assert producer.cancel(job.id) is JobState.DONE
        deliveries = take(worker, 10, lease_s=60)
        assert [delivery.verdict for delivery in deliveries] == ["errored", "passed"]
        settle(worker, deliveries[0], Outcome.FAILED, delay_s=60)
        settle(worker, deliveries[1], Outcome.DELIVERED)
        with connect(broker.url("metrics")) as reader:
            assert Ledger(reader).stats().webhooks == 1
        other = make_job(tenant="roles", nonce="other")
        producer.submit(other, queue, "https://host/")
        producer.cancel(other.id)
        assert producer.stats().webhooks == 2


def test_a_producer_stops_no_worker_and_a_worker_answers_its_operator(
    broker: ComposedRedis, producer: Client, worker: Worker
) -> None:
    with pytest.raises(OperationalError, match="no permissions"):
        producer._app.control.shutdown()
    with make_app(settings_of(broker, "worker"), broker.url("worker")) as app:
        eventually(lambda: app.control.ping(timeout=1, limit=1))
    assert worker.process.poll() is None


def test_flower_shows_workers_and_tasks(
    broker: ComposedRedis, producer: Client, worker: Worker, project: Path, tmp_path: Path
) -> None:
    log = tmp_path / "flower.log"
    with flower(broker.url("flower"), log) as page:
        eventually(lambda: f"revalid-{worker.process.pid}-" in page("/workers"))
        handle = producer.submit(project, commands=["echo hello"], sandbox="local")
        handle.result(30)
        eventually(lambda: "SUCCESS" in page(f"/api/task/info/{handle.id}"))
    assert "Failed to capture" not in log.read_text()


def test_flower_may_not_submit(broker: ComposedRedis, project: Path) -> None:
    words = r"broker unix://flower:\*\*\*@.* does not allow the user flower .*users\.acl"
    with (
        Client(settings_of(broker, "flower")) as client,
        pytest.raises(BrokerUnavailable, match=words),
    ):
        client.submit(project, commands=["true"])


def test_the_archive_reads_finished_jobs(broker: ComposedRedis, tmp_path: Path) -> None:
    archive = Archive(SecretStr(f"sqlite:///{tmp_path / 'archive.db'}"))
    archive.create()
    job = make_job(tenant="archived")
    with connect(broker.url("producer")) as redis:
        redis.delete(FINISHED_KEY)  # other tests' jobs, whose results are none
        ledger = Ledger(redis)
        ledger.submit(job, "revalid.test")
        ledger.cancel(job.id)
    with Client(settings_of(broker, "archive")) as client:
        client.ping()
        assert sum(copy_finished(client, archive)) == 1
    archive.close()
