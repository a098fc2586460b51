"""Stand-ins for the workers that a batch needs."""

from collections.abc import Callable

from revalid.jobs.result import Verdict
from revalid.producer.batch.reader import BatchReader, Progress
from revalid.producer.client import Client

NUMBER = 5
"""Projects of the batch that the fixture ``plan`` makes."""


def judge(client: Client, job_id: str, verdict: Verdict = Verdict.PASSED) -> None:
    """Do what a worker does with a job that rings."""
    attempt = client._ledger.claim(job_id, "worker")
    assert attempt is not None
    client._ledger.finish(attempt, verdict, "{}", reusable=True)


def judge_all(client: Client, reader: BatchReader) -> Callable[[Progress], None]:
    """End all open jobs at each look."""

    def look(_: Progress) -> None:
        for job_id in reader.pending():
            judge(client, job_id)

    return look
