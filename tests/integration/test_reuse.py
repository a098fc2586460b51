"""Verdicts of earlier runs, through a real worker and a real engine."""

import json
from pathlib import Path

import pytest

from revalid.jobs.job import DEFAULT_IMAGE
from revalid.jobs.ledger.keys import image_key, job_key
from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.result import JobResult
from revalid.producer.client import Client, JobHandle
from tests.integration.conftest import StartWorker

pytestmark = pytest.mark.dagger

MOVED = "sha256:" + "0" * 64


def submit(client: Client, project: Path) -> JobHandle:
    return client.submit(project, commands=["cat /proc/sys/kernel/random/uuid"], sandbox="dagger")


def printed(result: JobResult) -> str:
    return result.steps[0].stdout


def test_a_verdict_belongs_to_its_image(
    client: Client, start_worker: StartWorker, project: Path
) -> None:
    start_worker()
    first_result = submit(client, project).result(60)
    digest = first_result.sandbox.image_digest
    assert digest == client._redis.get(image_key(DEFAULT_IMAGE))

    # Nobody knows any more what the tag names: a worker asks, and the verdict stands.
    client._redis.delete(image_key(DEFAULT_IMAGE))
    handle = submit(client, project)
    assert handle.outcome is SubmitOutcome.NEW
    confirmed = handle.result(60)
    assert confirmed == first_result.model_copy(update={"reused": True})
    assert "sandbox" not in [event.type for event in handle.events()]

    # As if the verdict were of an image that the tag does not name any more.
    key = job_key(handle.id)
    stored = json.loads(str(client._redis.hget(key, "result")))
    stored["sandbox"]["image_digest"] = MOVED
    client._redis.hset(key, mapping={"result": json.dumps(stored), "image_digest": MOVED})
    handle = submit(client, project)
    assert handle.outcome is SubmitOutcome.NEW
    again = handle.result(60)
    assert (again.reused, again.sandbox.image_digest) == (False, digest)
    assert printed(again) != printed(first_result)
    assert submit(client, project).outcome is SubmitOutcome.REUSED
