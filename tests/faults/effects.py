"""What a job did, seen from outside: how often its command ran, and how often it was recorded."""

import time
from pathlib import Path

from jobs.events import Event
from jobs.ledger import State
from jobs.result import Verdict
from producer.client import JobHandle


def counted(command: str, marks: Path) -> str:
    """The command, preceded by a line in a file that counts its runs."""
    return f"echo run >> '{marks}'; {command}"


def runs(marks: Path) -> int:
    """How often a counted command was started."""
    return len(marks.read_text().splitlines()) if marks.exists() else 0


def types(handle: JobHandle) -> list[str]:
    """The types of a job's events so far."""
    entries = handle.client.redis.xrange(f"revalid:events:{handle.id}")
    return [fields["type"] for _, fields in entries]


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
    assert (record.state, record.verdict) == (State.DONE, verdict), record
    assert types(handle).count("finished") == 1
    assert types(handle)[-1] == "finished"


def since(moment: float) -> float:
    """Seconds since a ``time.monotonic()``."""
    return time.monotonic() - moment
