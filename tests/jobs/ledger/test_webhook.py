"""Webhooks in the ledger: valid URLs, and the verdicts that are delivered."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from revalid.jobs.connection import broker_errors
from revalid.jobs.errors import BrokerUnavailable, InvalidJob, InvalidSettings, PolicyRefused
from revalid.jobs.ledger.deliveries import (
    Delivery,
    Outcome,
    WebhookData,
    WebhookPayload,
    settle,
    take,
)
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.ledger.webhook import WebhookSubscription, check_url, decode_hook, encode_hook
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from tests.jobs.ledgers import JOB, claim, end_lease, finish, reap, server_time
from tests.jobs.samples import make_job

URL = "https://example.com/hook"
OTHER = "https://example.com/other"
KEY = SecretStr("key")


def waiting(ledger: Ledger) -> list[Delivery]:
    return take(ledger, 100, lease_s=60)


def payloads(ledger: Ledger) -> list[WebhookData]:
    """Return the document of each due delivery."""
    bodies = [each.body(decode_hook(each.hook, each.job_id, None)) for each in waiting(ledger)]
    return [WebhookPayload.model_validate_json(body).data for body in bodies]


def told(ledger: Ledger) -> list[tuple[str, str, str]]:
    """Return URL, verdict and failed step of each due delivery."""
    return sorted(
        (decode_hook(each.hook, each.job_id, None).url, each.verdict, each.failed_step)
        for each in waiting(ledger)
    )


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://example.com",
        "https://example.com:8443/a/b?token=x%20y",
        "https://[2001:db8::1]/",
        "HTTPS://EXAMPLE.COM/",
        "https://127.0.0.1/",  # a worker judges
    ],
)
def test_an_https_url_is_a_webhook(url: str) -> None:
    check_url(url, [])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "an https:// URL"),
        ("example.com/hook", "an https:// URL"),
        ("ftp://example.com/", "an https:// URL"),
        ("file:///etc/passwd", "an https:// URL"),
        ("https:///path", "an https:// URL"),
        ("http://example.com/", "REVALID_WEBHOOK_ALLOW"),
        ("https://user:password@example.com/", "must not have a user"),
        ("https://example.com@evil.test/", "must not have a user"),
        ("https://example.com/#part", "must not have a #"),
        ("https://example.com:port/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://example.com/a b", "has an invalid one"),
        ("https://example.com/\r\nx: y", "has an invalid one"),
        ("https://example.com\\@evil.test/", "has an invalid one"),
        ("https://exämple.com/", "has an invalid one"),
        ("https://example.com/" + "a" * 2_048, "has an invalid one"),
    ],
)
def test_an_invalid_webhook_is_refused_in_one_line(url: str, words: str) -> None:
    with pytest.raises(InvalidJob, match=words) as raised:
        check_url(url, [])
    assert str(raised.value).startswith("webhook: ")
    assert "password@" not in str(raised.value)


def test_http_is_allowed_only_for_listed_hosts() -> None:
    check_url("http://127.0.0.1/", ["127.0.0.1"])


@pytest.mark.parametrize("key", ["secret", "whsec_?", "whsec_c2hvcnQ=", "c2VjcmV0" * 4])
def test_a_key_has_the_standards_format_and_is_never_quoted(key: str) -> None:
    with pytest.raises(InvalidSettings, match=r"REVALID_WEBHOOK_KEY: .*openssl rand") as raised:
        load_settings({"REVALID_WEBHOOK_KEY": key}, env_file=None)
    assert key not in str(raised.value)


def test_settings_of_webhooks() -> None:
    made = load_settings(
        {
            "REVALID_WEBHOOK_KEY": "whsec_" + "c2VjcmV0" * 4,
            "REVALID_WEBHOOK_ALLOW": "backend, 10.0.0.0/8,fd00::/8,::1",
        },
        env_file=None,
    )
    assert made.webhook_key is not None
    assert made.webhook_allow == ("backend", "10.0.0.0/8", "fd00::/8", "::1")
    with pytest.raises(InvalidSettings, match=r"REVALID_WEBHOOK_ALLOW.*10\.0\.0\.0/80"):
        load_settings({"REVALID_WEBHOOK_ALLOW": "10.0.0.0/80"}, env_file=None)


def test_a_webhook_is_not_part_of_the_id_and_waits_for_the_verdict(
    ledger: Ledger, redis: Redis
) -> None:
    assert ledger.submit(JOB, "q", URL) is SubmitOutcome.NEW
    assert ledger.submit(JOB, "q", OTHER) is SubmitOutcome.JOINED
    assert ledger.submit(JOB, "q", OTHER) is SubmitOutcome.JOINED
    assert ledger.submit(JOB, "q") is SubmitOutcome.JOINED
    attempt = claim(ledger)
    assert ledger.submit(JOB, "q", "https://example.com/third") is SubmitOutcome.JOINED
    assert waiting(ledger) == []
    ledger.finish(attempt, Verdict.FAILED, "{}", reusable=True, failed_step="npm test")
    ledger.finish(attempt, Verdict.FAILED, "{}", reusable=True, failed_step="npm test")
    assert told(ledger) == [
        (url, "failed", "npm test") for url in (URL, OTHER, "https://example.com/third")
    ]
    assert not redis.exists(f"revalid:hooks:{JOB.id}")
    assert ledger.submit(JOB, "q", OTHER) is SubmitOutcome.REUSED
    assert told(ledger) == [(OTHER, "failed", "npm test")]


def test_the_payload_has_the_times_of_the_result(ledger: Ledger) -> None:
    ledger.submit(JOB, "q", URL)
    ledger.finish(
        claim(ledger),
        Verdict.FAILED,
        "{}",
        reusable=True,
        failed_step="test",
        duration_s=2.5,
        queued_s=0.25,
    )
    ledger.submit(JOB, "q", OTHER)
    found = [(data.failed_step, data.duration_s, data.queued_s) for data in payloads(ledger)]
    assert found == [("test", 2.5, 0.25)] * 2


@pytest.mark.parametrize("claimed", [False, True])
def test_the_payload_of_an_unreported_end_has_the_ledgers_times(
    ledger: Ledger, redis: Redis, claimed: bool
) -> None:
    ledger.submit(JOB, "q", URL)
    if claimed:
        attempt = claim(ledger)
        ledger.cancel(JOB.id)
        ledger.release(attempt, "its worker stops")
    else:
        ledger.cancel(JOB.id)
    record = ledger.record(JOB.id)
    (data,) = payloads(ledger)
    assert data.queued_s == record.queued_s
    if claimed:
        assert record.started_at and record.finished_at
        assert data.duration_s == (record.finished_at - record.started_at).total_seconds()
    else:
        assert data.duration_s is None


def test_each_webhook_gets_the_labels_of_its_submit(ledger: Ledger) -> None:
    for user in ("one", "other"):
        ledger.submit(make_job(labels={"user": user}), "q", URL)
    ledger.cancel(JOB.id)
    hooks = [decode_hook(each.hook, each.job_id, None) for each in waiting(ledger)]
    assert sorted(hook.labels["user"] for hook in hooks) == ["one", "other"]


def test_many_are_submitted_with_their_webhooks(ledger: Ledger) -> None:
    jobs = [make_job(nonce=str(number)) for number in range(3)]
    ledger.submit_all(jobs, "q", [URL, None, OTHER])
    for job in jobs:
        ledger.cancel(job.id)
    assert told(ledger) == [(URL, "cancelled", ""), (OTHER, "cancelled", "")]


def dies(ledger: Ledger, redis: Redis) -> None:
    for _ in range(3):
        claim(ledger)
        end_lease(redis)
        reap(ledger)


def starves(ledger: Ledger, redis: Redis) -> None:
    redis.hset(f"revalid:job:{JOB.id}", "queued_at", 0)
    assert ledger.fail_unserved(["q"], 86_400, "no engine") == [JOB.id]


def is_cancelled_and_released(ledger: Ledger, _: Redis) -> None:
    attempt = claim(ledger)
    ledger.cancel(JOB.id)
    ledger.release(attempt, "why")


def is_cancelled_and_abandoned(ledger: Ledger, _: Redis) -> None:
    claim(ledger)
    ledger.cancel(JOB.id)
    ledger.abandon("host:1")


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        (lambda ledger, _: finish(ledger, claim(ledger)), "passed"),
        (lambda ledger, _: ledger.cancel(JOB.id), "cancelled"),
        (is_cancelled_and_released, "cancelled"),
        (is_cancelled_and_abandoned, "cancelled"),
        (dies, "errored"),
        (starves, "errored"),
    ],
)
def test_every_end_of_a_job_is_posted(
    ledger: Ledger, redis: Redis, ends: Callable[[Ledger, Redis], Any], verdict: str
) -> None:
    ledger.submit(JOB, "q", URL)
    ends(ledger, redis)
    assert told(ledger) == [(URL, verdict, "")]


def test_an_orphan_is_reported(ledger: Ledger, redis: Redis) -> None:
    queue = "revalid.0123456789abcdef.interactive"
    ledger.submit(JOB, queue, URL)
    past = int((server_time(redis) - 700) * 1000)
    redis.hset(f"revalid:job:{JOB.id}", "queued_at", past)
    ledger.reap(judge=True, overdue_s=0)
    assert told(ledger) == [(URL, "cancelled", "")]


def test_a_repeated_job_posts_only_to_new_webhooks(ledger: Ledger, redis: Redis) -> None:
    ledger.submit(JOB, "q", URL)
    dies(ledger, redis)
    assert told(ledger) == [(URL, "errored", "")]
    ledger.retry(JOB.id)
    assert ledger.submit(JOB, "q", OTHER) is SubmitOutcome.JOINED
    finish(ledger, claim(ledger))
    assert told(ledger) == [(OTHER, "passed", "")]


def test_a_delivery_is_leased_and_settled(ledger: Ledger, redis: Redis) -> None:
    ledger.submit(JOB, "q", URL)
    ledger.cancel(JOB.id)
    (first,) = waiting(ledger)
    assert (first.job_id, first.verdict, first.tries) == (JOB.id, "cancelled", 1)
    assert waiting(ledger) == [], "it is leased"
    settle(ledger, first, Outcome.FAILED, delay_s=3_600)
    assert waiting(ledger) == [], "its next try is later"
    redis.zadd("revalid:deliveries", {first.id: 1})
    (second,) = waiting(ledger)
    assert (second.id, second.tries) == (first.id, 2)
    settle(ledger, first, Outcome.REFUSED)
    settle(ledger, first, Outcome.FAILED, delay_s=0)
    assert ledger.stats().webhooks == 1, "one who comes late decides nothing"
    settle(ledger, first, Outcome.DELIVERED)
    assert ledger.stats().webhooks == 0, "but what is delivered is"
    settle(ledger, second, Outcome.DELIVERED)
    counters = ledger.stats().counters
    assert counters["webhook", "failed"] == counters["webhook", "delivered"] == 1
    assert not list(redis.scan_iter("revalid:hook*"))


def test_a_delivery_whose_record_is_gone_is_counted(ledger: Ledger, redis: Redis) -> None:
    ledger.submit(JOB, "q", URL)
    ledger.cancel(JOB.id)
    (key,) = redis.scan_iter("revalid:hook:*")
    assert 0 < redis.ttl(key) <= 2 * 86_400
    redis.delete(key)
    assert waiting(ledger) == []
    assert ledger.stats().counters["webhook", "exhausted"] == 1
    assert ledger.stats().webhooks == 0


def test_a_full_broker_refuses_webhooks_and_delivers_stored_ones(
    ledger: Ledger, request: pytest.FixtureRequest
) -> None:
    ledger.submit(JOB, "q", URL)
    request.getfixturevalue("full")
    with pytest.raises(BrokerUnavailable, match="is full"), broker_errors("redis://host"):
        ledger.submit(JOB, "q", OTHER)
    ledger.cancel(JOB.id)
    (delivery,) = waiting(ledger)
    settle(ledger, delivery, Outcome.FAILED, delay_s=0)
    assert told(ledger) == [(URL, "cancelled", "")]


def test_a_webhook_is_signed_together_with_its_job() -> None:
    text = encode_hook(JOB, URL, KEY)
    assert decode_hook(text, JOB.id, KEY) == WebhookSubscription(job_id=JOB.id, url=URL, labels={})
    for changed in (text.replace("example", "evil"), encode_hook(JOB, URL, None)):
        with pytest.raises(PolicyRefused, match="REVALID_SIGNING_KEY"):
            decode_hook(changed, JOB.id, KEY)
    with pytest.raises(PolicyRefused, match="to another job"):
        decode_hook(text, "0" * 32, KEY)


def test_a_post_is_one_json_document(ledger: Ledger) -> None:
    ledger.submit(make_job(labels={"a": "\u2028é"}), "q", URL)
    ledger.cancel(JOB.id)
    (delivery,) = waiting(ledger)
    body = delivery.body(decode_hook(delivery.hook, JOB.id, None))
    assert body.isascii()
    assert json.loads(body)["data"]["labels"] == {"a": "\u2028é"}
