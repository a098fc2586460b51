"""Webhook deliveries: tried again, given up, and posted once by two workers."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from revalid.jobs.connection import connect
from revalid.jobs.job import Job
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.worker.webhooks import dispatcher
from revalid.worker.webhooks.dispatcher import WebhookDispatcher, delay_s
from revalid.worker.webhooks.sender import Resolve, WebhookSender, resolve
from tests.jobs.samples import make_job, until
from tests.worker.receivers import KEY, Receiver, receiver

Start = Callable[..., None]


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, result_ttl_s=600)


@pytest.fixture
def start(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Yield a function that starts a dispatcher in a thread; all threads end with the test."""
    monkeypatch.setattr(dispatcher, "POLL_S", 0.01)
    stop = threading.Event()
    with ExitStack() as stack:

        def start_dispatcher(
            allow: str = "127.0.0.1", look_up: Resolve = resolve, **settings: Any
        ) -> None:
            redis = stack.enter_context(connect(valkey_url))
            loaded = load_settings({}, env_file=None, **settings)
            webhooks = WebhookDispatcher(
                loaded, Ledger(redis), valkey_url, WebhookSender(KEY, [allow], look_up)
            )
            thread = threading.Thread(target=webhooks.run, args=(stop,), daemon=True)
            thread.start()
            stack.callback(thread.join, 15)
            stack.callback(stop.set)

        yield start_dispatcher


def cancelled(ledger: Ledger, url: str, **fields: Any) -> Job:
    """Submit a job that is cancelled at once."""
    job = make_job(**fields)
    ledger.submit(job, "q", url)
    ledger.cancel(job.id)
    return job


def webhook_counts(ledger: Ledger) -> dict[str, int]:
    counters = ledger.stats().counters
    return {words[1]: number for words, number in counters.items() if words[0] == "webhook"}


def test_a_verdict_is_posted_once_and_is_small(ledger: Ledger, start: Start) -> None:
    with receiver() as server:
        job = cancelled(ledger, server.url(), labels={"user": "7"})
        start()
        until(lambda: webhook_counts(ledger) == {"delivered": 1})
    (document,) = server.documents()
    record = ledger.record(job.id)
    assert record.finished_at is not None
    assert document == {
        "type": "job.finished",
        "timestamp": record.finished_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "id": job.id,
            "verdict": "cancelled",
            "failed_step": None,
            "duration_s": None,
            "queued_s": record.queued_s,
            "labels": {"user": "7"},
        },
    }
    assert ledger.stats().webhooks == 0
    assert not list(ledger.redis.scan_iter("revalid:hook*"))


def test_a_failed_delivery_is_repeated_with_the_same_id(
    ledger: Ledger, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_DELAY_S", 0.01)
    with receiver([500, 302, 429]) as server:
        cancelled(ledger, server.url())
        start()
        until(lambda: "delivered" in webhook_counts(ledger))
    assert webhook_counts(ledger) == {"failed": 3, "delivered": 1}
    assert [path for path, _, _ in server.calls] == ["/hook"] * 4
    assert len(server.documents()) == 4
    assert len({headers["webhook-id"] for _, headers, _ in server.calls}) == 1


def test_an_unreachable_receiver_is_tried_again(ledger: Ledger, start: Start) -> None:
    with receiver() as server:
        pass
    cancelled(ledger, server.url())
    start()
    until(lambda: webhook_counts(ledger) == {"failed": 1})
    seconds, _ = ledger.redis.time()
    assert ledger.redis.zcount("revalid:deliveries", seconds * 1000, "+inf") == 1, "it waits"


@pytest.mark.parametrize(
    ("status", "outcome"), [(410, "refused"), (500, "exhausted")], ids=["gone", "after a day"]
)
def test_hopeless_deliveries_are_dropped_and_logged(
    ledger: Ledger,
    start: Start,
    caplog: pytest.LogCaptureFixture,
    status: int,
    outcome: str,
) -> None:
    with receiver([status]) as server, caplog.at_level(logging.WARNING):
        job = cancelled(ledger, server.url("/secret-path"))
        (key,) = ledger.redis.scan_iter("revalid:hook:*")
        if outcome == "exhausted":
            ledger.redis.hincrby(key, "since", -86_400_000)
        start()
        until(lambda: webhook_counts(ledger) == {outcome: 1})
    assert ledger.stats().webhooks == 0
    (line,) = [entry for entry in caplog.messages if job.id in entry]
    assert f"127.0.0.1 answered {status}" in line
    assert "secret-path" not in caplog.text


def test_a_private_address_is_refused_and_logged(
    ledger: Ledger, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver() as server, caplog.at_level(logging.WARNING):
        cancelled(ledger, server.url())
        start(allow="10.0.0.0/8")
        until(lambda: webhook_counts(ledger) == {"refused": 1})
    assert server.calls == []
    assert "REVALID_WEBHOOK_ALLOW" in caplog.text


def test_two_workers_post_each_verdict_once(ledger: Ledger, start: Start) -> None:
    with receiver() as server:
        jobs = [cancelled(ledger, server.url(), nonce=str(number)) for number in range(100)]
        start()
        start()
        until(lambda: webhook_counts(ledger) == {"delivered": 100})
    posted = [document["data"]["id"] for document in server.documents()]
    assert sorted(posted) == sorted(job.id for job in jobs)


def test_a_hanging_receiver_delays_no_other_and_is_given_up(
    ledger: Ledger, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    try:
        with receiver() as hanging, receiver() as server:
            hanging.before_response = answer.wait
            cancelled(ledger, hanging.url(), nonce="hangs")
            start()
            until(lambda: hanging.calls)
            monkeypatch.setattr(dispatcher, "TIMEOUT_S", 0.2)
            cancelled(ledger, hanging.url(), nonce="hangs too")
            cancelled(ledger, server.url())
            until(lambda: webhook_counts(ledger) == {"delivered": 1, "failed": 1})
            assert len(server.calls) == 1
            answer.set()
    finally:
        answer.set()


def test_200_hanging_deliveries_delay_no_other_tenant_or_host(
    ledger: Ledger, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "TIMEOUT_S", 3_600.0)
    answer = threading.Event()
    try:
        with receiver() as hanging, receiver(address="127.0.0.2") as server:
            hanging.before_response = answer.wait
            for number in range(200):
                cancelled(ledger, hanging.url(), nonce=str(number), tenant=f"loud-{number % 50}")
            start(allow="127.0.0.0/8")
            until(lambda: len(hanging.calls) == 8)
            cancelled(ledger, server.url(), tenant="quiet")
            cancelled(ledger, server.url(), tenant="loud-1", nonce="elsewhere")
            until(lambda: webhook_counts(ledger) == {"delivered": 2})
            assert len(hanging.calls) == 8, "at most 8 deliveries to one host are in progress"
            answer.set()
            until(lambda: webhook_counts(ledger) == {"delivered": 202})
            assert len(hanging.calls) == 200
    finally:
        answer.set()


def test_a_stopping_worker_posts_due_deliveries(ledger: Ledger, valkey_url: str) -> None:
    stop = threading.Event()
    stop.set()
    settings = load_settings({}, env_file=None)
    with receiver() as server:
        cancelled(ledger, server.url())
        WebhookDispatcher(settings, ledger, valkey_url, WebhookSender(KEY, ["127.0.0.1"])).run(stop)
        assert webhook_counts(ledger) == {"delivered": 1}


def test_hanging_resolution_delays_no_other(
    ledger: Ledger, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "TIMEOUT_S", 0.05)
    answer = threading.Event()

    def hanging(host: str, port: int) -> list[str]:
        answer.wait()
        return []

    for number in range(60):  # more than there are threads
        cancelled(ledger, "https://hangs.test/", nonce=str(number))
    try:
        start(look_up=hanging)
        until(lambda: webhook_counts(ledger) == {"failed": 60})
    finally:
        answer.set()


def test_deliveries_of_a_lost_worker_are_taken_again(ledger: Ledger, start: Start) -> None:
    with receiver() as server:
        cancelled(ledger, server.url())
        assert len(ledger.run("take", 60_000, 10)) == 1
        assert ledger.run("take", 60_000, 10) == []
        (key,) = ledger.redis.scan_iter("revalid:hook:*")
        delivery = key.removeprefix("revalid:hook:")
        ledger.redis.zadd("revalid:deliveries", {delivery: 1}, xx=True)  # the lease has ended
        start()
        until(lambda: webhook_counts(ledger) == {"delivered": 1})
    assert len(server.calls) == 1


@pytest.mark.parametrize("written", ["", "nothing of ours", ' {"job_id": "x", "url": "y"}'])
def test_invalid_records_do_not_stop_the_rest(ledger: Ledger, start: Start, written: str) -> None:
    with receiver() as server:
        cancelled(ledger, server.url(), nonce="overwritten")
        (key,) = ledger.redis.scan_iter("revalid:hook:*")
        ledger.redis.hset(key, "hook", written)
        cancelled(ledger, server.url())
        start()
        until(lambda: webhook_counts(ledger) == {"refused": 1, "delivered": 1})


def test_a_url_that_breaks_the_client_is_refused(ledger: Ledger, start: Start) -> None:
    cancelled(ledger, "https://[", nonce="no URL")
    cancelled(ledger, "gopher://host/", nonce="no http")
    start()
    until(lambda: webhook_counts(ledger) == {"refused": 2})


def test_a_worker_with_a_signing_key_posts_only_signed_deliveries(
    redis: Redis, start: Start
) -> None:
    key = SecretStr("key")
    with receiver() as server:
        job = cancelled(Ledger(redis, signing_key=key), server.url())
        cancelled(Ledger(redis), server.url(), nonce="not signed")
        start(signing_key=key)
        until(lambda: webhook_counts(Ledger(redis)) == {"delivered": 1, "refused": 1})
    assert [document["data"]["id"] for document in server.documents()] == [job.id]


def test_a_reused_verdict_is_posted_at_once(ledger: Ledger, start: Start) -> None:
    def submit(server: Receiver) -> SubmitOutcome:
        return ledger.submit(make_job(), "q", server.url())

    with receiver() as one, receiver() as other:
        assert submit(one) is SubmitOutcome.NEW
        assert submit(other) is SubmitOutcome.JOINED
        start()
        attempt = ledger.claim(make_job().id, "host:1")
        assert attempt is not None
        assert one.calls == []
        ledger.finish(attempt, Verdict.FAILED, "{}", reusable=True, failed_step="npm test")
        until(lambda: one.calls and other.calls)
        assert submit(one) is SubmitOutcome.REUSED
        until(lambda: webhook_counts(ledger) == {"delivered": 3})
    assert (len(one.calls), len(other.calls)) == (2, 1)
    for document in [*one.documents(), *other.documents()]:
        assert document["data"]["verdict"] == "failed"
        assert document["data"]["failed_step"] == "npm test"


def test_pauses_grow_to_hours_with_a_dozen_tries_a_day() -> None:
    pauses = [delay_s(tries) for tries in range(1, 12)]
    assert 4 <= pauses[0] <= 6
    assert all(pause <= 17_280 for pause in pauses)
    assert 40_000 < sum(pauses) < 90_000
    assert delay_s(10_000) <= 17_280
