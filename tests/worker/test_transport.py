"""A worker uses only the job's id from a message."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu import Connection, transport

from revalid.jobs.errors import InvalidJob
from revalid.jobs.queue import celery_url
from revalid.worker.transport import Transport, made_anew
from tests.integration.garbage import DOORBELLS, ID, NO_DOORBELLS, dumped, message

QUEUE = "revalid.batch"


def parts(made: bytes) -> tuple[dict[str, Any], Any]:
    """Return a message without its own delivery tag, and its body."""
    envelope = json.loads(made)
    assert len(envelope["properties"].pop("delivery_tag")) == 36
    return envelope, json.loads(base64.b64decode(envelope["body"]))


@pytest.mark.parametrize("kind", NO_DOORBELLS)
def test_a_message_that_is_not_a_doorbell_is_refused(kind: str) -> None:
    with pytest.raises(InvalidJob):
        made_anew(QUEUE, NO_DOORBELLS[kind])


@pytest.mark.parametrize("kind", DOORBELLS)
def test_other_content_of_a_message_does_not_change_its_doorbell(kind: str) -> None:
    made = parts(made_anew(QUEUE, DOORBELLS[kind]))
    assert made == parts(made_anew(QUEUE, dumped(message())))
    assert made[1] == [[], {"message": {"v": 1, "job_id": ID}}, {}]
    assert made[0]["headers"]["timelimit"] == [None, None]


def test_two_messages_with_one_delivery_tag_get_separate_ones() -> None:
    one, other = (json.loads(made_anew(QUEUE, dumped(message()))) for _ in range(2))
    assert one["properties"]["delivery_tag"] != other["properties"]["delivery_tag"]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | _json.map(dumped)
    | st.builds(
        lambda name, value: dumped(message() | {name: value}),
        st.sampled_from(["body", "headers", "properties"]),
        _json,
    )
)
def test_anything_is_a_doorbell_or_refused(text: bytes) -> None:
    try:
        made = made_anew(QUEUE, text)
    except InvalidJob:
        return
    assert parts(made) == parts(made_anew(QUEUE, dumped(message())))


def test_a_message_of_a_lost_connection_cannot_be_returned(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery logs this error, while any other one would end its worker. The ledger rings again."""
    name = f"{Transport.__module__}:{Transport.__name__}"
    monkeypatch.setitem(transport.TRANSPORT_ALIASES, "redis", name)
    monkeypatch.setattr(transport, "_transport_cache", {})  # of aliases that were resolved before
    with Connection(celery_url(valkey_url)) as connection:
        channel: Any = connection.channel()
        lost = connection.connection_errors
        channel.close()
        with pytest.raises(lost):
            channel._put(QUEUE, {"properties": {"priority": 0}})
