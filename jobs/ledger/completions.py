"""The stream of finished jobs, from which the archive learns of them; prelude.lua writes it.

An entry goes with the job's record, so an archive may be set up later, or stand still for days.
"""

from dataclasses import dataclass
from typing import Any

from redis import Redis

from revalid.jobs.ledger.keys import FINISHED_KEY


@dataclass(frozen=True, slots=True)
class Completion:
    """One verdict of a job, which may have had others before.

    Attributes:
        entry: Its id in the stream; later ones are greater.
    """

    entry: str
    job_id: str


def read_finished(redis: Redis, last: Completion | None, most: int) -> list[Completion]:
    """What came after ``last``, at most so many, the oldest first.

    Where Redis does not hold ``last`` (any more), it lost data, is another one, or the reader was
    away for longer than results are kept: everything there is comes after it.
    """
    entries: Any = redis.xrange(FINISHED_KEY, last.entry if last else "-", "+", most + 1)
    found = [Completion(entry, fields["id"]) for entry, fields in entries]
    if last is None:
        return found[:most]
    if found and found[0] == last:
        return found[1:]
    return read_finished(redis, None, most)
