"""Reads the stream of finished jobs, for the archive; prelude.lua writes it.

Entries are kept as long as job records. An archive may therefore be set up later, or pause for
days.
"""

from dataclasses import dataclass
from typing import Any

from redis import Redis

from revalid.jobs.ledger.keys import FINISHED_KEY


@dataclass(frozen=True, slots=True)
class Completion:
    """One finish of a job; a job may finish several times.

    Attributes:
        entry: Id of the entry in the stream; ids rise with time.
    """

    entry: str
    job_id: str


def read_finished(redis: Redis, last: Completion | None, most: int) -> list[Completion]:
    """Read up to ``most`` completions after ``last``, the oldest first.

    If the stream does not hold ``last``, the whole stream is read. Redis then lost data or is
    another Redis, or the reader was away for longer than results are kept.
    """
    entries: Any = redis.xrange(FINISHED_KEY, last.entry if last else "-", "+", most + 1)
    completions = [Completion(entry, fields["id"]) for entry, fields in entries]
    if last is None:
        return completions[:most]
    if completions and completions[0] == last:
        return completions[1:]
    return read_finished(redis, None, most)
