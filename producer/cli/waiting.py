"""Tells the user once why a job waits."""

from time import monotonic

from rich.console import Console
from rich.text import Text

from revalid.jobs.ledger.record import JobState
from revalid.jobs.ledger.workers import workers
from revalid.producer.client import Client
from revalid.producer.sanitize import one_line

PATIENCE_S = 3.0
"""Seconds before the first look at why a job waits; a worker may be about to take it."""
START = "`revalid worker` starts one"


def why_waiting(client: Client, job_id: str, fix: str = START) -> str | None:
    """Return why no worker takes a job; None if it is not queued or a worker will take it."""
    with client._errors():
        record = client._ledger.record(job_id)
        if record.state is not JobState.QUEUED or client._ledger.serving(record.queue):
            return None
        there = [worker for worker in workers(client._redis) if worker.runs]
    for worker in there:
        if worker.reason:
            return f"no worker takes jobs; {worker.name}: {one_line(worker.reason)}"
    if there:
        return f"no worker takes jobs of the queue {record.queue}: {fix}"
    return f"no worker is running: {fix}"


class Waiting:
    """Prints once why a job waits.

    Args:
        fix: What the user can do if no worker takes the job.
        patience_s: Seconds before the first look.
    """

    def __init__(
        self,
        client: Client,
        out: Console,
        *,
        fix: str = START,
        patience_s: float = 0.0,
    ) -> None:
        self._client, self._out, self._fix = client, out, fix
        self._due = monotonic() + patience_s
        self._printed = False

    def look(self, job_id: str) -> None:
        """Print why the job waits, if it does. To be called often; queries the broker rarely."""
        if self._printed or monotonic() < self._due:
            return
        self._due = monotonic() + PATIENCE_S
        if (why := why_waiting(self._client, job_id, self._fix)) is not None:
            self._printed = True
            self._out.print(Text(f"  {why}", "yellow"))
