"""Counts a job's effects from outside: runs of its command, and recorded results."""

import time
from pathlib import Path
from typing import Any

from redis import Redis

from revalid.jobs.events import Event, read_all
from revalid.jobs.ledger.record import JobState
from revalid.jobs.result import Verdict
from revalid.producer.client import JobHandle


def counted(command: str, marks: Path) -> str:
    """Return the command with a prefix that counts its runs in a file."""
    return f"echo run >> '{marks}'; {command}"


def runs(marks: Path) -> int:
    """Return how often a counted command was started."""
    return len(marks.read_text().splitlines()) if marks.exists() else 0


def types(handle: JobHandle) -> list[str]:
    """Return the types of a job's events so far."""
    return [event.type for event in read_all(handle.client._redis, handle.id)]


def await_event(handle: JobHandle, type_: str, nth: int = 1) -> Event:
    """Wait for the ``nth`` event of a type."""
    count = 0
    for event in handle.events():
        count += event.type == type_
        if count == nth:
            return event
    raise AssertionError(f"the job ended without event {nth} of type {type_}")


def assert_recorded_once(handle: JobHandle, verdict: Verdict = Verdict.PASSED) -> None:
    """Check that a job has one final state and one recorded result."""
    record = handle.status()
    assert (record.state, record.verdict) == (JobState.DONE, verdict), record
    assert types(handle).count("finished") == 1
    assert types(handle)[-1] == "finished"


def text_list(client: Redis, command: str, *arguments: object) -> list[str]:
    """Return a Redis command's answer as a list of text."""
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


def count_done(redis: Redis) -> int:
    """Return how many jobs are done; Redis counts them, so that the measurement is not slowed."""
    return int(redis.eval(_DONE, 0))


def since(moment: float) -> float:
    """Return the seconds since a ``time.monotonic()``."""
    return time.monotonic() - moment
