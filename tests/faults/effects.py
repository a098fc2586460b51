"""What a job did, seen from outside: how often its command ran, and how often it was recorded."""

import time
from pathlib import Path
from typing import Any

from redis import Redis

from revalid.jobs.events import Event, read_all
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.producer.client import JobHandle


def counted(command: str, marks: Path) -> str:
    """The command, preceded by a line in a file that counts its runs."""
    return f"echo run >> '{marks}'; {command}"


def runs(marks: Path) -> int:
    """How often a counted command was started."""
    return len(marks.read_text().splitlines()) if marks.exists() else 0


def types(handle: JobHandle) -> list[str]:
    """The types of a job's events so far."""
    return [event.type for event in read_all(handle.client._redis, handle.id)]


def await_event(handle: JobHandle, type_: str, nth: int = 1) -> Event:
    """Wait for the ``nth`` event of a type."""
    seen = 0
    for event in handle.events():
        seen += event.type == type_
        if seen == nth:
            return event
    raise AssertionError(f"the job ended without event {nth} of type {type_}")


def assert_recorded_once(handle: JobHandle, verdict: Verdict = Verdict.PASSED) -> None:
    """One terminal state, one effect."""
    record = handle.status()
    assert (record.state, record.verdict) == (JobState.DONE, verdict), record
    assert types(handle).count("finished") == 1
    assert types(handle)[-1] == "finished"


def texts(client: Redis, command: str, *arguments: object) -> list[str]:
    """A Redis command's answer, of which the client knows that it is a list of text."""
    answer: list[Any] = client.execute_command(command, *arguments)  # type: ignore[no-untyped-call]
    return list(map(str, answer))


_DONE = """
local number = 0
for _, key in ipairs(redis.call('KEYS', 'revalid:job:*')) do
  if redis.call('HGET', key, 'state') == 'done' then
    number = number + 1
  end
end
return number
"""


def done(redis: Redis) -> int:
    """How many jobs are done, counted by Redis: asking for each would slow what is measured."""
    return int(redis.eval(_DONE, 0))


def since(moment: float) -> float:
    """Seconds since a ``time.monotonic()``."""
    return time.monotonic() - moment
