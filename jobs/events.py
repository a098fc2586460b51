"""The event stream of each job: one Redis stream, read from any point, sync or async.

An event's ``type`` determines the fields of its ``data``. ``finished`` is always the last event.
Readers skip types that they do not know, such as those of a newer worker.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, get_args

import redis.asyncio
from redis import Redis
from typing_extensions import TypedDict  # Python 3.11's own has no JSON Schema

from revalid.jobs.errors import InvalidJob
from revalid.jobs.ledger.keys import events_key
from revalid.jobs.result import StatusName, VerdictName

_AT_ONCE = 100
"""Most events in one read; one event may have 50 KB."""
BLOCK_S = 4.0
"""Longest wait of one read, in seconds; it is below the socket timeout."""


class NoData(TypedDict):
    """The data of an event that needs none: an empty mapping."""


class StartedData(TypedDict):
    """The worker that claimed the job; ``attempt`` counts claims, this one included."""

    worker: str
    attempt: int


class SandboxData(TypedDict):
    """The sandbox that was opened; ``fallback_reason`` says why it is not a container."""

    kind: Literal["dagger", "local"]
    image: str
    image_digest: NotRequired[str | None]
    fallback_reason: NotRequired[str | None]


class PlanData(TypedDict):
    """The strategy's plan; ``steps`` are the names of the steps."""

    strategy: str
    reason: str
    steps: list[str]
    notes: list[str]


class StepStartedData(TypedDict):
    """The step that began; ``command`` is None unless it is an ``exec``."""

    index: int
    op: str
    name: str
    command: str | None


class OutputData(TypedDict):
    """Output of a step's command since the previous ``output`` event of the stream."""

    index: int
    stream: Literal["stdout", "stderr"]
    text: str


class TestCountsData(TypedDict):
    """How many tests a step ran; the fields are those of :class:`.TestReport` without the cases."""

    runner: str | None
    source: Literal["report", "summary", "files"]
    passed: int
    failed: int
    skipped: int
    flaky: int
    executed: int


class StartData(TypedDict):
    """What a started server did; the fields are those of :class:`.StartReport` without the body."""

    ready_s: float | None
    setup_s: float | None
    port: int | None
    path: str | None
    status: int | None
    ignored_sigterm: bool
    problem: str | None


class StepFinishedData(TypedDict):
    """The step that ended; the fields are those of :class:`.StepResult` without the output."""

    index: int
    name: str
    status: StatusName
    ok: bool
    exit_code: int | None
    duration_s: float
    timed_out: bool
    limit_exceeded: str | None
    limit_value: str | None
    cancelled: bool
    cached: bool
    saved_s: float | None
    allow_failure: NotRequired[bool]
    skipped_reason: str | None
    tampered: NotRequired[str | None]
    tests: NotRequired[TestCountsData | None]
    flaky_passes: NotRequired[bool]
    start: NotRequired[StartData | None]


class RequeuedData(TypedDict):
    """The reason, such as a worker that gave the job back or was lost."""

    reason: NotRequired[str]


class FinishedData(TypedDict):
    """The job's verdict."""

    verdict: VerdictName


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happened to a job; reading after ``id`` resumes the stream."""

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
"""Something that happened to a job; ``type`` names it. Reading after ``id`` resumes the stream."""

_CLASSES: dict[str, Any] = {
    get_args(kind.__annotations__["type"])[0]: kind for kind in get_args(Event)
}


def make_event(event_id: str, type_: str, data: Mapping[str, Any]) -> Event | None:
    """Make an event of a type; return None if this version does not know the type."""
    kind = _CLASSES.get(type_)
    return None if kind is None else kind(event_id, dict(data))


def read(client: Redis, job_id: str, after: str, *, block_s: float = BLOCK_S) -> list[Event]:
    """Read the next events after an id, up to 100.

    Waits up to ``block_s`` seconds for the first one, and :data:`BLOCK_S` at most.
    """
    answer = client.xread({events_key(job_id): after}, _AT_ONCE, _milliseconds(block_s))
    return _decode(answer)


def read_all(client: Redis, job_id: str) -> list[Event]:
    """Read all events of a job that are still stored."""
    return _decode([(None, client.xrange(events_key(job_id)))])


async def read_async(
    client: "redis.asyncio.Redis", job_id: str, after: str, *, block_s: float = BLOCK_S
) -> list[Event]:
    """Read the next events after an id, as :func:`read`, on an event loop."""
    key = events_key(job_id)
    return _decode(await client.xread({key: after}, _AT_ONCE, _milliseconds(block_s)))


def check_position(after: str) -> None:
    """Raise :class:`~revalid.jobs.errors.InvalidJob` if ``after`` is not an event id."""
    if not re.fullmatch(r"[0-9]{1,19}(-[0-9]{1,19})?", after):
        raise InvalidJob(
            f"event id {after!r} is not valid: give the id of an event, or 0 to read from the start"
        )


def _milliseconds(seconds: float) -> int:
    return max(1, int(min(seconds, BLOCK_S) * 1000))  # 0 would wait for ever


def _decode(answer: Any) -> list[Event]:
    events = (
        make_event(event_id, fields["type"], json.loads(fields.get("data", "{}")))
        for _, entries in answer
        for event_id, fields in entries
    )
    return [event for event in events if event is not None]
