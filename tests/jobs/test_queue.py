"""The doorbell: valid messages, and the fields of a job that reach the broker with one."""

import ast
import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from celery import Celery
from celery.app.defaults import SETTING_KEYS
from kombu.exceptions import LimitExceeded
from redis import Redis

from revalid.jobs.errors import BrokerUnavailable, InvalidJob
from revalid.jobs.job import Job, Lane
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import HARD_LIMIT_MARGIN_S, Doorbell
from revalid.jobs.queue import (
    TASK,
    DoorbellMessage,
    celery_url,
    make_app,
    parse_doorbell,
    queue_name,
    ring,
    ringing,
)
from revalid.jobs.settings import load_settings
from tests.jobs.samples import make_job

ID = "0123456789abcdef" * 2


@pytest.fixture
def app(valkey_url: str) -> Iterator[Celery]:
    made = make_app(load_settings({}, env_file=None), valkey_url)
    yield made
    made.close()


@pytest.fixture
def job() -> Job:
    return make_job(
        tenant="acme",
        strategy="command",
        steps=[{"op": "exec", "command": "echo command-text"}],
        env={"NAME": "env-value"},
        secrets={"TOKEN": "env://SECRET_REFERENCE"},
        labels={"app": "label-text"},
        limits={"job_timeout_s": 99.5},
    )


@pytest.fixture
def doorbell(redis: Redis, job: Job) -> Doorbell:
    """The doorbell that the ledger rang for the job."""
    rung: list[Doorbell] = []
    Ledger(redis, ring=rung.append).submit(job, "q")
    (made,) = rung
    return made


def messages(redis: Redis, queue: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in cast("list[str]", redis.lrange(queue, 0, -1))]


def test_a_doorbell_round_trips() -> None:
    assert parse_doorbell(DoorbellMessage(job_id=ID).model_dump()) == DoorbellMessage(
        v=1, job_id=ID
    )
    assert DoorbellMessage(job_id=ID).model_dump() == {"v": 1, "job_id": ID}


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_an_unknown_version_is_refused_as_such(version: object) -> None:
    words = rf"^message version {version!r} is not 1: upgrade this worker or the producer$"
    with pytest.raises(InvalidJob, match=words):
        parse_doorbell({"v": version, "job_id": ID, "from": "the future"})


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"v": 1}, "job_id: Field required"),
        ({"v": 1, "job_id": ID[1:]}, "job_id: String should match"),
        ({"v": 1, "job_id": ID.upper()}, "job_id: String should match"),
        ({"v": 1, "job_id": f"{ID}\n"}, "job_id: String should match"),
        ({"v": 1, "job_id": 1}, "job_id: Input should be a valid string"),
        ({"v": 1, "job_id": ID, "image": "node"}, "image: Extra inputs are not permitted"),
        ([1, ID], "Input should be a valid dictionary"),
        (ID, "Input should be a valid dictionary"),
        (None, "Input should be a valid dictionary"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_message_that_is_not_a_doorbell_is_refused(message: object, words: str) -> None:
    with pytest.raises(InvalidJob, match=f"^not a doorbell message: {words}"):
        parse_doorbell(message)


def test_a_lane_is_a_queue() -> None:
    assert queue_name(Lane.BATCH) == "revalid.batch"
    assert queue_name(Lane.INTERACTIVE, "ab12") == "revalid.ab12.interactive"


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("redis://:secret@host:6379/1", "redis://:secret@host:6379/1"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix:///run/a%20b.sock?db=3", "redis+socket:///run/a%20b.sock?virtual_host=3"),
        ("rediss://host", "rediss://host?ssl_cert_reqs=required"),
        ("rediss://host/0?a=b", "rediss://host/0?a=b&ssl_cert_reqs=required"),
        ("rediss://host?ssl_cert_reqs=none", "rediss://host?ssl_cert_reqs=none"),
    ],
)
def test_celery_has_its_own_spelling_of_a_url(url: str, spelled: str) -> None:
    assert celery_url(url) == spelled


def test_one_ring_is_one_message_that_says_only_which_job_waits(
    app: Celery, redis: Redis, job: Job, doorbell: Doorbell
) -> None:
    ring(app, doorbell)
    (message,) = messages(redis, "q")
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == ([], {"message": {"v": 1, "job_id": job.id}})
    assert message["content-type"] == "application/json"


def test_the_broker_holds_nothing_else_of_the_job(
    app: Celery, redis: Redis, doorbell: Doorbell
) -> None:
    ring(app, doorbell)
    (message,) = messages(redis, "q")
    headers = message["headers"]
    assert (headers["id"], headers["task"]) == (doorbell.job_id, TASK)
    assert headers["argsrepr"] == "()"
    shown = {"label.app": "label-text", "tenant": "acme", "strategy": "command"}
    assert ast.literal_eval(headers["kwargsrepr"]) == shown
    everything = json.dumps(message) + base64.b64decode(message["body"]).decode()
    for word in ("command-text", "env-value", "SECRET_REFERENCE", "node"):
        assert word not in everything


def test_a_child_that_hangs_is_ended_after_the_jobs_own_limit(
    app: Celery, redis: Redis, doorbell: Doorbell
) -> None:
    ring(app, doorbell)
    (message,) = messages(redis, "q")
    assert message["headers"]["timelimit"] == [99 + HARD_LIMIT_MARGIN_S, None]
    assert HARD_LIMIT_MARGIN_S > 1


def test_a_doorbell_does_not_ignore_the_result(
    app: Celery, redis: Redis, doorbell: Doorbell
) -> None:
    ring(app, doorbell)
    (message,) = messages(redis, "q")
    assert message["headers"]["ignore_result"] is False


def test_ringing_leaves_no_subscription(app: Celery, redis: Redis, doorbell: Doorbell) -> None:
    ring(app, doorbell)
    ring(app, doorbell)
    assert len(messages(redis, "q")) == 2
    assert redis.pubsub_channels() == []
    clients = redis.client_list()
    assert [(client["sub"], client["psub"]) for client in clients] == [("0", "0")] * len(clients)


def test_a_lost_broker_is_reported_with_the_job(doorbell: Doorbell, tmp_path: Path) -> None:
    app = make_app(load_settings({}, env_file=None), f"unix://{tmp_path}/none.sock")
    words = (
        rf"^job {doorbell.job_id} is recorded, but its doorbell did not ring \(.*\): a worker rings"
    )
    try:
        with pytest.raises(BrokerUnavailable, match=words):
            ring(app, doorbell)
    finally:
        app.close()


def test_more_rings_at_once_than_connections_are_told_with_the_job(
    app: Celery, doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(**_: object) -> None:
        raise LimitExceeded(10)  # as kombu does after its time

    monkeypatch.setattr(app.producer_pool, "acquire", acquire)
    with pytest.raises(BrokerUnavailable, match="its doorbell did not ring"):
        ring(app, doorbell)


def test_a_full_broker_is_reported_with_the_job(
    app: Celery, redis: Redis, doorbell: Doorbell, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("full")
    with pytest.raises(
        BrokerUnavailable, match=rf"^job {doorbell.job_id} is recorded, .*maxmemory"
    ):
        ring(app, doorbell)
    assert redis.exists("q") == 0


@pytest.mark.parametrize("queue", ["revalid.interactive", "revalid.batch"])
def test_doorbells_in_the_queue_are_listed(
    app: Celery, redis: Redis, doorbell: Doorbell, queue: str
) -> None:
    assert ringing(redis, queue) == set()
    ring(app, replace(doorbell, queue=queue))
    assert ringing(redis, queue) == {doorbell.job_id}


@pytest.mark.parametrize(
    "garbage", [b"x", b"{}", b"[]", b'{"headers": {}}', b"\xff", b"[" * 99_999]
)
def test_garbage_hides_no_doorbell(
    app: Celery, redis: Redis, doorbell: Doorbell, garbage: bytes
) -> None:
    ring(app, doorbell)
    redis.lpush("q", garbage)
    assert ringing(redis, "q") == {doorbell.job_id}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_acks_late", True),
        ("task_reject_on_worker_lost", True),
        ("task_acks_on_failure", True),
        ("task_acks_on_timeout", True),
        ("task_track_started", True),
        ("worker_prefetch_multiplier", 1),
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("worker_pool_start_method", "spawn"),
        ("worker_hijack_root_logger", False),
        ("worker_send_task_events", True),
        ("task_send_sent_event", True),
        ("task_serializer", "json"),
        ("accept_content", ["json"]),
        ("result_serializer", "json"),
        ("result_extended", False),
        ("result_expires", 86_400),
        ("result_backend_always_retry", True),
        ("result_backend_max_retries", 10),
        ("broker_connection_retry_on_startup", True),
        ("broker_connection_max_retries", None),
        ("task_default_queue", "revalid.interactive"),
    ],
)
def test_a_celery_setting(app: Celery, setting: str, value: object) -> None:
    assert getattr(app.conf, setting) == value


def test_every_setting_is_one_that_celery_reads(app: Celery) -> None:
    changed: Any = app.conf.changes
    assert changed.keys() - {"deprecated_settings"} <= SETTING_KEYS
    assert "task_acks_late" in changed


def test_messages_taken_are_not_kept_on_the_broker(app: Celery) -> None:
    options: Any = app.conf.broker_transport_options
    assert options["ack_emulation"] is False


def test_ringing_writes_the_queue_alone(app: Celery, redis: Redis, doorbell: Doorbell) -> None:
    before = set(redis.keys())
    ring(app, doorbell)
    assert set(redis.keys()) - before == {"q"}


def test_every_wait_for_the_broker_and_the_backend_is_bounded() -> None:
    app = make_app(load_settings({}, env_file=None), "redis://127.0.0.1:6379/0")
    with app.connection() as connection:
        options: Any = connection.transport_options
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (10, 5)
    backend: Any = app.backend
    assert backend.connparams["socket_timeout"] == 10
    assert backend.connparams["socket_connect_timeout"] == 5
    app.close()


def test_results_go_to_the_broker_by_default() -> None:
    made = [
        make_app(load_settings({}, env_file=None, result_url=url), "unix:///run/b.sock?db=1")
        for url in (None, "rediss://results/2")
    ]
    backends: list[Any] = [app.backend for app in made]
    broker, other = [backend.connparams for backend in backends]
    assert (broker["path"], broker["db"]) == ("/run/b.sock", 1)
    assert (other["host"], other["db"]) == ("results", 2)
    for app in made:
        app.close()
