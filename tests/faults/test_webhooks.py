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
        receiver() as hanging,
        receiver(address="127.0.0.2") as server,
    ):
        hanging.before_response = answer.wait

        def submit_cancelled(url: str, tenant: str) -> None:
            job = client.submit(
                None,
                steps=[{"op": "exec", "command": "true"}],
                fresh=True,
                webhook=url,
                tenant=tenant,
            )
            job.cancel()

        try:
            for _ in range(200):
                submit_cancelled(hanging.url(), "loud")
            fleet.start(
                REVALID_WEBHOOK_KEY=KEY.get_secret_value(), REVALID_WEBHOOK_ALLOW="127.0.0.0/8"
            )
            eventually(lambda: len(hanging.calls) >= 8, awaited="the first deliveries")
            submit_cancelled(server.url(), "quiet")
            took = eventually(lambda: server.calls, awaited="another tenant's delivery")
            under_way = len(hanging.calls)
            assert under_way < 200
        finally:
            answer.set()
    proved(f"posted after {took:.1f} s, when {under_way} of 200 had begun to hang")
