"""Celery's Redis transport for workers: no message in a queue can end a worker.

Anybody may have written a message. A worker therefore reads only the job's id from it, and makes a
new message: no header, time limit, callback or reply address of a sender takes effect.
"""

import base64
import binascii
import json
import threading
from time import sleep
from typing import Annotated, Any, Literal
from uuid import uuid4

from kombu import transport
from kombu.transport import redis as kombu_redis
from pydantic import BaseModel, Field, ValidationError
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import describe
from revalid.jobs.queue import QUEUE_PREFIX, TASK, DoorbellMessage, parse_doorbell

RESTART_PAUSE_S = 1.0
MAX_BYTES = 16_384
"""Most bytes of a message; a doorbell has about 1 KB."""

_Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Headers(BaseModel):
    task: Literal["revalid.validate"]
    id: _Id
    kwargsrepr: str = Field(max_length=1_000)


class _Envelope(BaseModel):
    body: str
    headers: _Headers


class Dropped:
    """Counts messages that are not doorbells, and keeps the reason of the last one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._reason = ""

    def add(self, reason: str) -> None:
        """Count one message."""
        with self._lock:
            self._number += 1
            self._reason = reason

    def take(self) -> tuple[int, str]:
        """Return the count and the reason since the last call."""
        with self._lock:
            number, self._number = self._number, 0
            return number, self._reason


dropped = Dropped()


def made_anew(queue: str, message: bytes) -> bytes:
    """Return a new doorbell from a message; it keeps only the job's id and the names for Flower.

    Raises:
        InvalidJob: The message is not a doorbell.
    """
    if len(message) > MAX_BYTES:
        raise InvalidJob(f"it has {len(message)} bytes")
    try:
        envelope = _Envelope.model_validate(json.loads(message), strict=True)
        arguments = json.loads(base64.b64decode(envelope.body, validate=True))
    except ValidationError as error:
        raise InvalidJob(f"not a doorbell message: {describe(error)}") from None
    except (ValueError, RecursionError, binascii.Error) as error:
        raise InvalidJob(f"not a doorbell message: {type(error).__name__}") from None
    named = _job_named(arguments)
    if named != envelope.headers.id:
        raise InvalidJob("not a doorbell message: its task has another id than its job")
    return json.dumps(_message(queue, named, envelope.headers.kwargsrepr)).encode()


def _job_named(arguments: Any) -> str:
    try:
        _, keywords, _ = arguments
        return parse_doorbell(keywords["message"]).job_id
    except (TypeError, ValueError, KeyError, IndexError):
        raise InvalidJob("not a doorbell message: its task has other arguments") from None


def _message(queue: str, job_id: str, kwargsrepr: str) -> dict[str, Any]:
    arguments = [[], {"message": DoorbellMessage(job_id=job_id).model_dump()}, {}]
    return {
        "body": base64.b64encode(json.dumps(arguments).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": TASK,
            "id": job_id,
            "root_id": job_id,
            "retries": 0,
            "timelimit": [None, None],  # the parent asks the ledger for the job's limit
            "argsrepr": "()",
            "kwargsrepr": kwargsrepr,
            "ignore_result": False,
        },
        "properties": {
            "correlation_id": job_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


class _Client(Redis):
    """A Redis client whose BRPOP returns only doorbells."""

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        """Parse a reply as redis-py does; return None for a message that is not a doorbell."""
        try:
            answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        except ResponseError:  # Celery starts its consumer again, up to five times a second
            sleep(RESTART_PAUSE_S)
            raise
        if command_name != "BRPOP" or not answer:
            return answer
        key, message = answer
        queue = key.decode(errors="replace").partition(Channel.sep)[0]
        if not queue.startswith(QUEUE_PREFIX):  # an answer to the worker's own request
            return answer
        try:
            return key, made_anew(queue, message)
        except InvalidJob as error:
            dropped.add(f"{queue}: {error}")
            return None


class Channel(kombu_redis.Channel):
    """A channel that keeps no copies of messages in Redis: the ledger rings again for its jobs."""

    do_restore = False

    def _get_client(self) -> type[Redis]:
        return _Client

    def _connparams(self: Any, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None:  # a child died with a message of a connection that was lost
            raise RedisConnectionError("the message's connection is closed")
        return dict(super()._connparams(asynchronous))  # type: ignore[misc]

    # A full Redis refuses new bindings, and only answers to remote control need one.

    def _queue_bind(self: Any, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        if self.typeof(exchange).type == "fanout":
            self._fanout_queues[queue] = (exchange, routing_key.replace("#", "*"))
        elif not queue.startswith(QUEUE_PREFIX):
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]

    def _refresh_bindings(self: Any, queues: list[str]) -> None:
        answers = [name for name in queues if name not in self._fanout_queues]
        super()._refresh_bindings(answers)  # type: ignore[misc]


class Transport(kombu_redis.Transport):
    """Kombu's Redis transport with this channel."""

    Channel = Channel


def install() -> None:
    """Make this process use this transport for every Redis URL."""
    for scheme in ("redis", "rediss"):
        transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__qualname__}"
