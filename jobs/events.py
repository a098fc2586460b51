"""The event stream of each job: one Redis stream, read from any point, sync or async.

An event's ``type`` says which ``data`` it has. ``finished`` is always the last. A type that this
version does not know, of a newer worker, is passed over.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, get_args

import redis.asyncio
from redis import Redis

from revalid.jobs.errors import InvalidJob
from revalid.jobs.ledger.keys import events_key

_AT_ONCE = 100
"""Events in one answer: one may have 50 KB."""
BLOCK_S = 4.0
"""Longest wait of one read: below the socket's own timeout."""


class NoData(TypedDict):
    """An event that its type alone describes."""


class StartedData(TypedDict):
    """Which worker claimed the job, and how often it was claimed with this claim."""

    worker: str
    attempt: int


class SandboxData(TypedDict):
    """Which sandbox was opened; ``fallback_reason`` says why it is no container."""

    kind: Literal["dagger", "local"]
    image: str
    image_digest: NotRequired[str | None]
    fallback_reason: NotRequired[str | None]


class PlanData(TypedDict):
    """What the strategy made of the project; ``steps`` are names."""

    strategy: str
    reason: str
    steps: list[str]
    notes: list[str]


class StepStartedData(TypedDict):
    """A step began; ``command`` is None where it runs none."""

    index: int
    op: str
    name: str
    command: str | None


class OutputData(TypedDict):
    """What a step's command wrote since the last of these."""

    index: int
    stream: Literal["stdout", "stderr"]
    text: str


class StepFinishedData(TypedDict):
    """A step ended; the fields are those of :class:`.StepResult` without its output."""

    index: int
    name: str
    ok: bool
    exit_code: int | None
    duration_s: float
    timed_out: bool
    limit_exceeded: str | None
    limit_value: str | None
    cancelled: bool
    cached: bool
    saved_s: float | None
    skipped_reason: str | None


class RequeuedData(TypedDict):
    """Why the job waits again: its worker gave it back, or was lost."""

    reason: NotRequired[str]


class FinishedData(TypedDict):
    """How the job ended."""

    verdict: str


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happened to a job; ``id`` resumes the stream after it."""

    id: str

    @property
    def last(self) -> bool:
        """Whether the job is done."""
        return isinstance(self, FinishedEvent)


@dataclass(frozen=True, slots=True)
class QueuedEvent(_Event):
    """The job waits."""

    data: NoData
    type: Literal["queued"] = "queued"


@dataclass(frozen=True, slots=True)
class StartedEvent(_Event):
    """A worker claimed the job."""

    data: StartedData
    type: Literal["started"] = "started"


@dataclass(frozen=True, slots=True)
class SandboxEvent(_Event):
    """A sandbox was opened."""

    data: SandboxData
    type: Literal["sandbox"] = "sandbox"


@dataclass(frozen=True, slots=True)
class PlanEvent(_Event):
    """The steps are known."""

    data: PlanData
    type: Literal["plan"] = "plan"


@dataclass(frozen=True, slots=True)
class StepStartedEvent(_Event):
    """A step began."""

    data: StepStartedData
    type: Literal["step_started"] = "step_started"


@dataclass(frozen=True, slots=True)
class OutputEvent(_Event):
    """A step's command wrote something."""

    data: OutputData
    type: Literal["output"] = "output"


@dataclass(frozen=True, slots=True)
class StepFinishedEvent(_Event):
    """A step ended."""

    data: StepFinishedData
    type: Literal["step_finished"] = "step_finished"


@dataclass(frozen=True, slots=True)
class CancellingEvent(_Event):
    """Somebody asked for the job to end."""

    data: NoData
    type: Literal["cancelling"] = "cancelling"


@dataclass(frozen=True, slots=True)
class RequeuedEvent(_Event):
    """The job waits again."""

    data: RequeuedData
    type: Literal["requeued"] = "requeued"


@dataclass(frozen=True, slots=True)
class FinishedEvent(_Event):
    """The job is done."""

    data: FinishedData
    type: Literal["finished"] = "finished"


Event = (
    QueuedEvent
    | StartedEvent
    | SandboxEvent
    | PlanEvent
    | StepStartedEvent
    | OutputEvent
    | StepFinishedEvent
    | CancellingEvent
    | RequeuedEvent
    | FinishedEvent
)
"""Something that happened to a job; ``type`` tells which, ``id`` resumes the stream after it."""

_CLASSES: dict[str, Any] = {
    get_args(kind.__annotations__["type"])[0]: kind for kind in get_args(Event)
}


def make_event(event_id: str, type_: str, data: Mapping[str, Any]) -> Event | None:
    """The event of a type; None where this version does not know it."""
    kind = _CLASSES.get(type_)
    return None if kind is None else kind(event_id, dict(data))


def read(client: Redis, job_id: str, after: str, *, block_s: float = BLOCK_S) -> list[Event]:
    """The next events after an id; waits up to ``block_s`` seconds, :data:`BLOCK_S` at most."""
    answer = client.xread({events_key(job_id): after}, _AT_ONCE, _milliseconds(block_s))
    return _decode(answer)


def read_all(client: Redis, job_id: str) -> list[Event]:
    """All events that are kept of a job."""
    return _decode([(None, client.xrange(events_key(job_id)))])


async def read_async(
    client: "redis.asyncio.Redis", job_id: str, after: str, *, block_s: float = BLOCK_S
) -> list[Event]:
    """The same as :func:`read`, on an event loop."""
    key = events_key(job_id)
    return _decode(await client.xread({key: after}, _AT_ONCE, _milliseconds(block_s)))


def check_position(after: str) -> None:
    """Raise :class:`~revalid.jobs.errors.InvalidJob` where ``after`` is no event id."""
    if not re.fullmatch(r"[0-9]{1,19}(-[0-9]{1,19})?", after):
        raise InvalidJob(f"event id {after!r}: give the id of an event, or 0 for the first")


def _milliseconds(seconds: float) -> int:
    return max(1, int(min(seconds, BLOCK_S) * 1000))  # 0 would wait for ever


def _decode(answer: Any) -> list[Event]:
    found = (
        make_event(event_id, fields["type"], json.loads(fields.get("data", "{}")))
        for _, entries in answer
        for event_id, fields in entries
    )
    return [event for event in found if event is not None]
