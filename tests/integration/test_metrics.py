"""``revalid metrics`` with real workers."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from revalid.jobs.ledger.deliveries import Outcome
from revalid.producer.client import Client
from tests.integration.composed import composed_redis
from tests.integration.conftest import StartWorker, eventually

Samples = dict[tuple[str, ...], float]
"""By the metric's name and its labels' values."""


@contextmanager
def metrics(broker_url: str) -> Iterator[Callable[[], Samples]]:
    """Run the server; yield a function that scrapes it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("REVALID_")}
    settings = {"REVALID_BROKER_URL": broker_url, "REVALID_METRICS_LISTEN": "127.0.0.1:0"}
    with subprocess.Popen(
        [str(Path(sys.executable).with_name("revalid")), "metrics"],
        env={**own, **settings},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            (url,) = re.findall(r"on (http\S+);", process.stdout.readline())

            def scrape() -> Samples:
                answer = httpx.get(url, timeout=10, trust_env=False)
                assert answer.status_code == 200
                return {
                    (sample.name, *sample.labels.values()): sample.value
                    for family in text_string_to_metric_families(answer.text)
                    for sample in family.samples
                }

            yield scrape
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.mark.slow
def test_metrics_describe_workers(client: Client, start_worker: StartWorker, project: Path) -> None:
    waiting = client.submit(project, commands=["sleep 600"], sandbox="local", lane="batch")
    with metrics(client.url) as scrape:
        before = scrape()
        assert before["revalid_broker_up",] == 1
        assert before["revalid_jobs_queued", "batch"] == 1
        assert before["revalid_jobs_queued", "interactive"] == 0
        assert before["revalid_oldest_queued_seconds", "batch"] > 0
        assert before["revalid_slots",] == 0
        first_worker = start_worker(REVALID_CONCURRENCY="2")
        for command in ("true", "false", "echo again"):
            client.submit(project, commands=[command], sandbox="local").result(30)
        eventually(lambda: scrape()["revalid_jobs_running", "batch"] == 1)
        first_worker.process.kill()
        start_worker()
        waiting.cancel()
        waiting.result(90)
        after = scrape()
    assert after["revalid_jobs_finished_total", "interactive", "passed"] == 2
    assert after["revalid_jobs_finished_total", "interactive", "failed"] == 1
    assert after["revalid_jobs_finished_total", "batch", "cancelled"] == 1
    assert after["revalid_claim_latency_seconds_count", "interactive"] == 3
    assert after["revalid_claim_latency_seconds_bucket", "interactive", "+Inf"] == 3
    assert after["revalid_claim_latency_seconds_sum", "batch"] > 0
    assert after["revalid_jobs_running", "batch"] == after["revalid_jobs_queued", "batch"] == 0


def test_the_role_metrics_suffices_and_a_lost_broker_is_reported(tmp_path: Path) -> None:
    with composed_redis(tmp_path) as running, metrics(running.url("metrics")) as scrape:
        samples = scrape()
        assert samples["revalid_jobs_dead",] == samples["revalid_webhooks_waiting",] == 0
        outcomes = {name[1] for name in samples if name[0] == "revalid_webhook_tries_total"}
        assert outcomes == set(Outcome)
        running.process.terminate()
        running.process.wait(10)
        assert scrape() == {("revalid_broker_up",): 0}
