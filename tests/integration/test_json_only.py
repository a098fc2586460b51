"""A pickle on the broker is refused without being unpacked, wherever a worker listens."""

import base64
import json
import os
import pickle
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.job import Lane
from revalid.jobs.queue import TASK, queue_name
from revalid.jobs.result import Verdict
from tests.integration.conftest import Site, eventually

QUEUE = queue_name(Lane.INTERACTIVE)


@dataclass
class Trap:
    """Whoever unpickles it makes a directory."""

    directory: str

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.directory,)


def message(trap: Trap, headers: dict[str, Any]) -> str:
    """Return a kombu message with a pickle as its body."""
    return json.dumps(
        {
            "body": base64.b64encode(pickle.dumps(([], {"message": trap}, {}))).decode(),
            "content-type": "application/x-python-serialize",
            "content-encoding": "binary",
            "headers": headers,
            "properties": {
                "body_encoding": "base64",
                "correlation_id": uuid.uuid4().hex,
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "delivery_mode": 2,
                "delivery_tag": str(uuid.uuid4()),
                "priority": 0,
            },
        }
    )


def test_the_trap_works(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Trap(str(trap))))  # noqa: S301
    assert trap.is_dir()


@pytest.mark.parametrize(
    ("place", "headers"),
    [
        ("queue", {"task": TASK, "id": uuid.uuid4().hex, "lang": "py"}),
        ("queue", {}),
        ("control", {}),
    ],
    ids=["a task", "a task of the old protocol", "remote control"],
)
def test_a_pickle_is_refused_and_the_next_job_served(
    site: Site, tmp_path: Path, project: Path, place: str, headers: dict[str, Any]
) -> None:
    redis, log = site.client._redis, site.worker.log
    words = "dropped, the last: " if place == "queue" else "Refusing to deserialize"
    refused = log.read_text().count(words)
    sprung = tmp_path / "sprung"
    text = message(Trap(str(sprung)), headers)
    if place == "queue":
        redis.lpush(QUEUE, text)
    else:
        eventually(lambda: redis.publish("/0.celery.pidbox", text))
    eventually(lambda: log.read_text().count(words) > refused)

    handle = site.client.submit(project, commands=["true"], sandbox="local")
    assert handle.result(30).verdict is Verdict.PASSED
    eventually(lambda: not redis.exists("unacked", QUEUE))
    assert site.worker.process.poll() is None
    assert not sprung.exists()
