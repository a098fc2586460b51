"""``/metrics`` for Prometheus, read from the ledger at each scrape: one process serves a system."""

import logging
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from revalid.jobs.connection import broker_errors
from revalid.jobs.errors import BrokerUnavailable
from revalid.jobs.job import Lane
from revalid.jobs.ledger.deliveries import Outcome
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.stats import ENGINE_LOST, MESSAGES_DROPPED, WAITED_BOUNDS, QueueStats
from revalid.jobs.ledger.workers import workers
from revalid.jobs.result import Verdict

log = logging.getLogger("revalid.metrics")


class LedgerCollector(Collector):
    """What the ledger holds, and what it has counted since its Redis was empty.

    Where the broker does not answer, ``revalid_broker_up`` is 0 and alone.
    """

    def __init__(self, ledger: Ledger, url: str) -> None:
        self._ledger = ledger
        self._url = url

    def describe(self) -> list[Metric]:
        """Nothing: registering asks no broker."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric, as of now."""
        up = GaugeMetricFamily("revalid_broker_up", "Whether the broker answered this scrape.")
        try:
            with broker_errors(self._url):
                stats = self._ledger.stats()
                there = workers(self._ledger.redis)
        except BrokerUnavailable as error:
            log.warning("%s", error)
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _gauges(stats)
        yield GaugeMetricFamily(
            "revalid_workers_out_of_service",
            "Workers that run and take no jobs: their files or their engine fail.",
            sum(worker.runs and worker.reason is not None for worker in there),
        )
        yield from _counters(stats)


def _gauges(stats: QueueStats) -> Iterator[Metric]:
    queued = GaugeMetricFamily("revalid_jobs_queued", "Jobs that wait.", labels=["lane"])
    oldest = GaugeMetricFamily(
        "revalid_oldest_queued_seconds",
        "Seconds since the oldest job that waits was queued; 0 where none waits.",
        labels=["lane"],
    )
    running = GaugeMetricFamily("revalid_jobs_running", "Jobs that run.", labels=["lane"])
    for lane in Lane:
        found = stats.lanes.get(lane)
        queued.add_metric([lane], found.queued if found else 0)
        oldest.add_metric([lane], found.oldest_s if found else 0)
        running.add_metric([lane], found.running if found else 0)
    yield queued
    yield oldest
    yield running
    yield GaugeMetricFamily(
        "revalid_slots", "Jobs that the workers in service may run at a time.", stats.slots
    )
    yield GaugeMetricFamily(
        "revalid_jobs_dead", "Jobs set aside after three lost processes.", stats.dead
    )
    yield GaugeMetricFamily(
        "revalid_webhooks_waiting", "Verdicts not delivered to their webhook.", stats.webhooks
    )


def _counters(stats: QueueStats) -> Iterator[Metric]:
    counted = stats.counters
    finished = CounterMetricFamily(
        "revalid_jobs_finished", "Jobs that came to their verdict.", labels=["lane", "verdict"]
    )
    waited = HistogramMetricFamily(
        "revalid_claim_latency_seconds",
        "Seconds from submit to a job's first claim.",
        labels=["lane"],
    )
    for lane in Lane:
        for verdict in Verdict:
            finished.add_metric([lane, verdict], counted.get(("finished", lane, verdict), 0))
        total, buckets = 0, []
        for bound in WAITED_BOUNDS:
            total += counted.get(("waited", lane, bound), 0)
            buckets.append((bound, float(total)))
        sum_s = counted.get(("waited_ms", lane), 0) / 1000
        waited.add_metric([lane], buckets=buckets, sum_value=sum_s)
    yield finished
    yield waited
    yield CounterMetricFamily(
        "revalid_attempts_lost",
        "Attempts whose process died or lost its lease.",
        counted.get(("lost",), 0),
    )
    yield CounterMetricFamily(
        "revalid_attempts_faulted",
        "Attempts given back because the worker's own files failed.",
        counted.get(("faults",), 0),
    )
    yield CounterMetricFamily(
        "revalid_messages_dropped",
        "Messages in the queues that were no doorbells.",
        counted.get((MESSAGES_DROPPED,), 0),
    )
    yield CounterMetricFamily(
        "revalid_engine_sessions_lost",
        "Times that a worker's process lost its engine session and opened another.",
        counted.get((ENGINE_LOST,), 0),
    )
    webhooks = CounterMetricFamily(
        "revalid_webhook_tries", "What tries of webhooks came to.", labels=["outcome"]
    )
    for outcome in Outcome:
        webhooks.add_metric([outcome], counted.get(("webhook", outcome), 0))
    yield webhooks
