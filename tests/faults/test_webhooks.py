"""Row 26: a receiver of webhooks hangs."""

import threading

import pytest

from revalid.jobs.settings import load_settings
from revalid.producer.client import Client
from tests.faults.conftest import Proved
from tests.faults.fleet import Broker, Fleet, eventually
from tests.worker.receivers import KEY, receiver


@pytest.mark.row(26)
def test_a_receiver_that_hangs(broker: Broker, fleet: Fleet, proved: Proved) -> None:
    answer = threading.Event()
    settings = load_settings({}, env_file=None, broker_url=broker.url, webhook_allow="127.0.0.0/8")
    with (
        Client(settings) as client,
        receiver() as hangs,
        receiver(address="127.0.0.2") as there,
    ):
        hangs.before_response = answer.wait

        def told(url: str, tenant: str) -> None:
            made = client.submit(
                None,
                steps=[{"op": "exec", "command": "true"}],
                fresh=True,
                webhook=url,
                tenant=tenant,
            )
            made.cancel()

        try:
            for _ in range(200):
                told(hangs.url(), "loud")
            fleet.start(
                REVALID_WEBHOOK_KEY=KEY.get_secret_value(), REVALID_WEBHOOK_ALLOW="127.0.0.0/8"
            )
            eventually(lambda: len(hangs.calls) >= 8, what="the first deliveries")
            told(there.url(), "quiet")
            took = eventually(lambda: there.calls, what="another tenant's delivery")
            under_way = len(hangs.calls)
            assert under_way < 200
        finally:
            answer.set()
    proved(f"posted after {took:.1f} s, when {under_way} of 200 had begun to hang")
