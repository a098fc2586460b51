"""Submits with a webhook, and their state in the ledger."""

from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidJob
from revalid.jobs.ledger.deliveries import take
from revalid.jobs.ledger.webhook import decode_hook
from revalid.producer.client import Client
from revalid.producer.submission import prepare


def test_a_webhook_gets_the_verdict_and_an_invalid_one_is_refused(
    client: Client, project: Path
) -> None:
    with pytest.raises(InvalidJob, match="webhook: give an https:// URL"):
        client.submit(project, webhook="ftp://host/")
    assert client._redis.keys("*") == []
    handle = client.submit(project, webhook="https://host/one")
    with prepare(client.settings, project, webhook="https://host/two") as made:
        assert [again.id for again in client.send_all([made])] == [handle.id]
    handle.cancel()
    deliveries = take(client._ledger, 10, lease_s=60)
    urls = [decode_hook(each.hook, handle.id, None).url for each in deliveries]
    assert sorted(urls) == ["https://host/one", "https://host/two"]
