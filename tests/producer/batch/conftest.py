"""Fixtures of these tests: a batch of small projects."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.state import BatchStore, Plan
from revalid.producer.client import Client
from revalid.producer.submission import Submission
from tests.producer.batch.batches import NUMBER


@pytest.fixture
def store(client: Client, tmp_path: Path) -> BatchStore:
    return BatchStore(client._redis, tmp_path / "batches", ttl_s=600)


@pytest.fixture
def plan(store: BatchStore, tmp_path: Path) -> Plan:
    """Projects that are all different."""
    entries = []
    for number in range(NUMBER):
        (tmp_path / f"app-{number}").mkdir()
        (tmp_path / f"app-{number}" / "file").write_text(str(number))
        entries.append(BatchItem(project=f"app-{number}", origin=str(tmp_path / f"app-{number}")))
    made = Plan(
        id="ab12",
        source="apps",
        created_at=datetime.now(UTC),
        options={"commands": ["true"], "lane": "batch"},
        fresh=False,
        entries=entries,
    )
    store.create(made)
    return made


@pytest.fixture
def send(client: Client) -> Callable[[Submission], str]:
    return lambda submission: client.send(submission, run="ab12").id
