"""deploy/grafana.json queries existing metrics, and its panels do not overlap."""

import json
import re
from itertools import combinations
from typing import Any

import pytest
from flower.events import get_prometheus_metrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from revalid.jobs.ledger.ledger import Ledger
from revalid.producer.metrics import LedgerCollector
from tests.integration.composed import ROOT

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]
WORDS = {"and", "bool", "offset", "on", "or", "unless"}


def metrics_of(query: str) -> set[str]:
    """The names in a PromQL query that are neither functions nor labels nor its own words."""
    for other in (
        r'"[^"]*"',
        r"\{[^}]*\}",
        r"\[[^]]*\]",
        r"\b(by|without|on|ignoring)\s*\([^)]*\)",
    ):
        query = re.sub(other, " ", query)
    return {*re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", query)} - WORDS


@pytest.fixture
def served(redis: Redis) -> set[str]:
    """The names of all samples of `revalid metrics`."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(Ledger(redis), "redis://"))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {sample.name for family in families for sample in family.samples}


@pytest.fixture
def flowers() -> set[str]:
    """The names that Flower's samples may have."""
    found = get_prometheus_metrics()
    kinds = [metric.describe()[0] for metric in vars(found).values()]
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    return {kind.name + ending for kind in kinds for ending in endings[kind.type]}


def test_every_metric_asked_for_is_served(served: set[str], flowers: set[str]) -> None:
    asked = set().union(*map(metrics_of, QUERIES))
    assert asked - flowers - served == set()
    assert asked & flowers
    assert {name for name in asked if name.startswith("revalid_")} <= served


def test_every_metric_served_is_shown(served: set[str]) -> None:
    left = served - set().union(*map(metrics_of, QUERIES))
    assert all(re.search("_(created|count|sum)$", name) for name in left)


def test_names_are_found_in_queries() -> None:
    query = (
        '60 * max by (lane) (rate(a_total{b="c_d"}[$__rate_interval])) > on() e:f or sum(g) by (h)'
    )
    assert metrics_of(query) == {"a_total", "e:f", "g"}


def test_panels_have_ids_and_titles_of_their_own() -> None:
    for name in ("id", "title"):
        assert len({panel[name] for panel in PANELS}) == len(PANELS)


def test_panels_do_not_overlap() -> None:
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in PANELS)


def test_every_query_goes_to_the_chosen_prometheus() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    source = {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
    assert all(panel["datasource"] == source for panel in PANELS)
    assert not any("datasource" in target for panel in PANELS for target in panel["targets"])
