"""Prometheus metrics, read from the ledger at each scrape; one process serves a whole system."""

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
    """Collects the ledger's gauges, and its counters since Redis was empty.

    If the broker does not answer, the only metric is ``revalid_broker_up`` with the value 0.
    """

    def __init__(self, ledger: Ledger, url: str) -> None:
        self._ledger = ledger
        self._url = url

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not query the broker."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its current value."""
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
        lane_stats = stats.lanes.get(lane)
        queued.add_metric([lane], lane_stats.queued if lane_stats else 0)
        oldest.add_metric([lane], lane_stats.oldest_s if lane_stats else 0)
        running.add_metric([lane], lane_stats.running if lane_stats else 0)
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
    counters = stats.counters
    finished = CounterMetricFamily(
        "revalid_jobs_finished", "Jobs that reached a verdict.", labels=["lane", "verdict"]
    )
    waited = HistogramMetricFamily(
        "revalid_claim_latency_seconds",
        "Seconds from submit to a job's first claim.",
        labels=["lane"],
    )
    for lane in Lane:
        for verdict in Verdict:
            finished.add_metric([lane, verdict], counters.get(("finished", lane, verdict), 0))
        total, buckets = 0, []
        for bound in WAITED_BOUNDS:
            total += counters.get(("waited", lane, bound), 0)
            buckets.append((bound, float(total)))
        sum_s = counters.get(("waited_ms", lane), 0) / 1000
        waited.add_metric([lane], buckets=buckets, sum_value=sum_s)
    yield finished
    yield waited
    yield CounterMetricFamily(
        "revalid_attempts_lost",
        "Attempts whose process died or lost its lease.",
        counters.get(("lost",), 0),
    )
    yield CounterMetricFamily(
        "revalid_attempts_faulted",
        "Attempts given back because the worker's own files failed.",
        counters.get(("faults",), 0),
    )
    yield CounterMetricFamily(
        "revalid_messages_dropped",
        "Messages in the queues that were no doorbells.",
        counters.get((MESSAGES_DROPPED,), 0),
    )
    yield CounterMetricFamily(
        "revalid_engine_sessions_lost",
        "Times that a worker's process lost its engine session and opened another.",
        counters.get((ENGINE_LOST,), 0),
    )
    webhooks = CounterMetricFamily(
        "revalid_webhook_tries", "Tries of webhook deliveries.", labels=["outcome"]
    )
    for outcome in Outcome:
        webhooks.add_metric([outcome], counters.get(("webhook", outcome), 0))
    yield webhooks
