"""The Celery app, and doorbells: messages that name a job whose turn has come."""

import json
import logging
from functools import partial
from typing import Any, Literal

from celery import Celery
from kombu.exceptions import LimitExceeded, OperationalError
from pydantic import Field, ValidationError
from redis import Redis, RedisError

from revalid.jobs.errors import BrokerUnavailable, InvalidJob
from revalid.jobs.job import Lane, describe
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Doorbell
from revalid.jobs.settings import Settings
from revalid.jobs.steps import Frozen

TASK = "revalid.validate"
QUEUE_PREFIX = "revalid."
log = logging.getLogger("revalid.queue")
_BATCH_PRIORITY = 9
"""Celery on Redis takes messages of priority 0 first, from all queues."""


class DoorbellMessage(Frozen):
    """The body of a doorbell's Celery message."""

    v: Literal[1] = 1
    job_id: str = Field(pattern=r"^[0-9a-f]{32}$")


def parse_doorbell(message: Any) -> DoorbellMessage:
    """Parse the body of a doorbell message.

    Raises:
        InvalidJob: The version is unknown, or the message is not a doorbell.
    """
    if isinstance(message, dict) and message.get("v") != 1:
        raise InvalidJob(
            f"message version {message.get('v')!r} is not 1: upgrade this worker or the producer"
        )
    try:
        return DoorbellMessage.model_validate(message)
    except ValidationError as error:
        raise InvalidJob(f"not a doorbell message: {describe(error)}") from None


def queue_name(lane: Lane, worker: str | None = None) -> str:
    """Return the Celery queue of a lane; with a fingerprint, the queue of those workers alone."""
    return f"{QUEUE_PREFIX}{worker}.{lane}" if worker else f"{QUEUE_PREFIX}{lane}"


def make_app(settings: Settings, broker_url: str) -> Celery:
    """Make a Celery app with settings for jobs that take minutes."""
    app = Celery("revalid", set_as_current=False)
    broker = celery_url(broker_url)
    app.conf.update(
        broker_url=broker,
        result_backend=celery_url(settings.result_url) if settings.result_url else broker,
        broker_transport_options={
            # The ledger rings again for a job that nobody claimed: no copy is needed.
            "ack_emulation": False,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "health_check_interval": 25,
            "priority_steps": [0, _BATCH_PRIORITY],
        },
        redis_socket_timeout=10,  # for the result backend, which ignores the transport options
        redis_socket_connect_timeout=5,
        broker_connection_timeout=5,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # the default gives up after 100
        broker_channel_error_retry=True,  # a full Redis refuses the writes of a starting consumer
        task_default_queue=queue_name(Lane.INTERACTIVE),
        task_serializer="json",
        accept_content=["json"],
        result_serializer="json",
        task_acks_late=True,  # acknowledge a message after its job's result is recorded
        task_reject_on_worker_lost=True,
        task_acks_on_failure=True,  # the ledger decides on retries; False would requeue for ever
        task_acks_on_timeout=True,
        task_track_started=True,
        worker_prefetch_multiplier=1,  # a slow job must not hold a queued one
        worker_cancel_long_running_tasks_on_connection_loss=False,  # the lease decides
        worker_proc_alive_timeout=60,  # on a busy machine the default of 4 s is too short
        worker_pool_start_method="spawn",  # fork would copy event loops and connections
        worker_hijack_root_logger=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        result_extended=False,  # True stores raw arguments
        result_expires=86_400,
        result_backend_always_retry=True,
        result_backend_max_retries=10,  # the default never gives up
    )
    return app


def celery_url(url: str) -> str:
    """Convert a Redis URL to Celery's form: unix sockets and required TLS certificates differ."""
    if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"
    if not url.startswith("unix://"):
        return url
    path, _, query = url.removeprefix("unix://").partition("?")
    return f"redis+socket://{path}?virtual_host={query.removeprefix('db=') or 0}"


def open_ledger(settings: Settings, redis: Redis, app: Celery) -> Ledger:
    """Open the ledger with these settings; its doorbells are sent through ``app``."""
    return Ledger(
        redis,
        ring=partial(ring, app),
        result_ttl_s=settings.result_ttl_s,
        queued_jobs=settings.queued_jobs,
        tenant_jobs=settings.tenant_jobs,
        interactive_slots=settings.interactive_slots,
        signing_key=settings.signing_key,
        blob_redis_bytes=settings.project_redis_bytes,
    )


def ring(app: Celery, doorbell: Doorbell) -> None:
    """Publish the doorbell of a recorded job; publishing it twice is harmless.

    Celery's ``send_task`` is not used, because it subscribes to the result.

    Raises:
        BrokerUnavailable: The broker did not take the message.
    """
    message = app.amqp.as_task_v2(
        doorbell.job_id,
        TASK,
        kwargs={"message": DoorbellMessage(job_id=doorbell.job_id).model_dump()},
        time_limit=doorbell.limit_s,
        argsrepr="()",
        kwargsrepr=doorbell.shown or "{}",
        ignore_result=False,
    )
    try:
        try:
            # Delete an earlier result, which Celery would keep; its own `forget` retries for 10 s.
            backend: Any = app.backend
            backend.delete(backend.get_key_for_task(doorbell.job_id))
        except RedisError as error:  # only Flower reads Celery's results
            log.warning(
                "job %s: the old Celery result could not be deleted (%s)", doorbell.job_id, error
            )
        with app.producer_pool.acquire(block=True, timeout=5) as publisher:
            app.amqp.send_task_message(
                publisher,
                TASK,
                message,
                queue=doorbell.queue,
                declare=[],  # write to the queue directly, without reading the bindings
                priority=_priority(doorbell.queue),
                retry=True,
                retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_max": 0.5},
            )
    except (OperationalError, LimitExceeded, RedisError) as error:
        raise BrokerUnavailable(
            f"job {doorbell.job_id} is recorded, but its doorbell did not ring ({error}): "
            "a worker rings it again",
            job_id=doorbell.job_id,
        ) from None


def _priority(queue: str) -> int:
    return _BATCH_PRIORITY if queue.endswith(Lane.BATCH) else 0


def ringing(redis: Redis, queue: str) -> set[str]:
    """Return the ids of the jobs that have a doorbell in a Celery queue; garbage is skipped."""
    priority = _priority(queue)
    key = f"{queue}\x06\x16{priority}" if priority else queue
    command: Any = (
        redis.execute_command
    )  # only this call can return bytes, and garbage may not be text
    messages: list[bytes] = command("LRANGE", key, 0, -1, NEVER_DECODE=True)
    return {job_id for message in messages if (job_id := _job_id(message)) is not None}


def _job_id(message: bytes) -> str | None:
    try:
        return str(json.loads(message)["headers"]["id"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
