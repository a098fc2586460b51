"""Messages that are not doorbells, and doorbells with unexpected additions."""

import base64
import gzip
import json
import zlib
from typing import Any

from revalid.jobs.queue import TASK

ID = "0123456789abcdef" * 2


def body(*arguments: Any) -> str:
    """Return a message body: arguments, keywords and Celery's other fields."""
    return base64.b64encode(json.dumps(arguments).encode()).decode()


def doorbell(job_id: object = ID, v: object = 1, embed: Any = None) -> str:
    """Return the body of a doorbell."""
    return body([], {"message": {"v": v, "job_id": job_id}}, embed)


def message(**changed: Any) -> dict[str, Any]:
    """Return a doorbell's message with changed parts; ``None`` leaves a part out."""
    fields: dict[str, Any] = {
        "body": doorbell(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": TASK, "id": ID, "lang": "py", "kwargsrepr": "strategy=command"},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": ID,
            "delivery_info": {"exchange": "", "routing_key": "revalid.interactive"},
            "delivery_tag": "1",
        },
    }
    fields |= changed
    return {name: value for name, value in fields.items() if value is not None}


def with_header(**headers: Any) -> dict[str, Any]:
    """Return a doorbell's message with other headers."""
    return message(headers=message()["headers"] | headers)


def with_property(**properties: Any) -> dict[str, Any]:
    """Return a doorbell's message with other properties."""
    return message(properties=message()["properties"] | properties)


def dumped(value: Any) -> bytes:
    """Return a message as it is stored on the queue."""
    return json.dumps(value).encode()


_plain = json.dumps([[], {"message": {"v": 1, "job_id": ID}}, {}]).encode()

NO_DOORBELLS: dict[str, bytes] = {
    "no JSON": b"garbage",
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "half": dumped(message())[:-9],
    "deep": b"[" * 8_000,
    "long number": b"1" * 8_000,
    "null": b"null",
    "a number": b"1",
    "a string": b'"garbage"',
    "a list": b"[]",
    "an empty object": b"{}",
    "a type of kombu's": b'{"__type__": "datetime", "__value__": "x"}',
    "no body": dumped(message(body=None)),
    "body no string": dumped(message(body=[1])),
    "body no base64": dumped(message(body="%%%")),
    "body no JSON": dumped(message(body=base64.b64encode(b"garbage").decode())),
    "body without keywords": dumped(message(body=body([1]))),
    "body of one value": dumped(message(body=base64.b64encode(b"1").decode())),
    "body with other keywords": dumped(message(body=body([], {"other": 1}, {}))),
    "body compressed": dumped(message(body=base64.b64encode(gzip.compress(_plain)).decode())),
    "body said to be compressed": dumped(
        with_header(compression="application/x-gzip")
        | {"body": base64.b64encode(zlib.compress(_plain)).decode()}
    ),
    "a bomb": dumped(message(body=base64.b64encode(gzip.compress(bytes(10**6))).decode())),
    "huge": dumped(message(body="A" * 4_000_000)),
    "no headers": dumped(message(headers=None)),
    "headers a list": dumped(message(headers=[])),
    "headers null": dumped(message() | {"headers": None}),
    "headers of the old protocol": dumped(message(headers={})),
    "another task": dumped(with_header(task="celery.backend_cleanup")),
    "an unknown task": dumped(with_header(task="os.system")),
    "task no string": dumped(with_header(task=["x"])),
    "another id": dumped(with_header(id="f" * 32)),
    "id no string": dumped(with_header(id={"a": 1})),
    "another version": dumped(message(body=doorbell(v=2))),
    "job id a number": dumped(message(body=doorbell(job_id=1))),
    "job id a list": dumped(message(body=doorbell(job_id=[ID]))),
    "job id a path": dumped(message(body=doorbell(job_id="../" * 8))),
    "remote control": dumped({"method": "shutdown", "arguments": {}, "destination": None}),
}
"""Each is dropped and counted."""

DOORBELLS: dict[str, bytes] = {
    "version true": dumped(message(body=doorbell(v=True))),
    "no properties": dumped(message(properties=None)),
    "properties a list": dumped(message(properties=[])),
    "no delivery tag": dumped(message(properties={"body_encoding": "base64"})),
    "delivery tag a list": dumped(with_property(delivery_tag=[1])),
    "no delivery info": dumped(with_property(delivery_info=None)),
    "priority a string": dumped(with_property(priority="x")),
    "another encoding of the body": dumped(with_property(body_encoding="rot13")),
    "a pickle by its type": dumped(message() | {"content-type": "application/x-python-serialize"}),
    "yaml by its type": dumped(message() | {"content-type": "application/x-yaml"}),
    "type a number": dumped(message() | {"content-type": 1}),
    "an unknown encoding": dumped(message() | {"content-encoding": "utf-99"}),
    "a compression": dumped(with_header(compression="application/x-bz2")),
    "a time to come": dumped(with_header(eta="2999-01-01T00:00:00+00:00")),
    "no time": dumped(with_header(eta="garbage")),
    "expired": dumped(with_header(expires="1999-01-01T00:00:00+00:00")),
    "expires a list": dumped(with_header(expires=[1])),
    "a limit": dumped(with_header(timelimit=[0.001, 0.001])),
    "a limit that is none": dumped(with_header(timelimit="x")),
    "retries a string": dumped(with_header(retries="x")),
    "stamps": dumped(with_header(stamps={"a": 1}, stamped_headers=["a"])),
    "a shadow": dumped(with_header(shadow={"a": 1})),
    "a group": dumped(with_header(group="g", group_index="x")),
    "an address for the reply": dumped(with_property(reply_to="revalid:queued")),
    "callbacks": dumped(
        message(body=doorbell(embed={"callbacks": [{"task": TASK, "args": []}], "chord": 1}))
    ),
    "a chord": dumped(message(body=doorbell(embed={"chord": {"task": TASK}, "chain": [1]}))),
    "another exchange": dumped(
        with_property(delivery_info={"exchange": "celery.pidbox", "routing_key": "x"})
    ),
}
"""Each names a job and says more, none of which has an effect."""
