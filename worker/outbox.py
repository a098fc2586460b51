"""Keeps finished results on disk until the ledger has them, even if the worker is killed."""

import hashlib
import json
import logging
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, sleep

from revalid.jobs import atomic_write
from revalid.jobs.connection import broker_errors, redact
from revalid.jobs.errors import BrokerUnavailable, LeaseLost
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt
from revalid.jobs.result import JobResult, Verdict

STALE_S = 5.0
"""Age above which any process may record a result: its own process no longer tries."""
FINISH_EVERY_S = 1.0
FINISH_TIMEOUT_S = 60.0
"""Seconds for which recording is retried while the broker does not answer.

After them the result waits on disk, and the slot is free.
"""

log = logging.getLogger("revalid.worker")


@dataclass(frozen=True, slots=True)
class PendingResult:
    """A result that is not recorded yet, with all arguments for recording it."""

    job_id: str
    fence: int
    number: int
    verdict: Verdict
    reusable: bool
    result: str
    image_digest: str = ""
    failed_step: str = ""
    duration_s: float | None = None
    queued_s: float = 0.0


class Outbox:
    """A directory of pending results; those for another broker are left alone."""

    def __init__(self, home: Path, ledger: Ledger, url: str) -> None:
        self._ledger = ledger
        self._url = url
        self._directory = (
            home / "unrecorded" / hashlib.sha256(redact(url).encode()).hexdigest()[:16]
        )

    def record(self, attempt: Attempt, result: JobResult) -> bool:
        """Keep a result and record it; return False if another attempt owns the job, or it waits.

        If the broker does not answer, recording is retried for a bounded time.
        """
        pending = self.put(attempt, result)
        deadline = monotonic() + FINISH_TIMEOUT_S
        while True:
            try:
                recorded = self.deliver(pending)
                break
            except BrokerUnavailable as error:
                log.warning("job %s: result not recorded yet (%s)", attempt.job_id, error)
                if monotonic() > deadline:
                    return False
                sleep(FINISH_EVERY_S)
        log.info("job %s: %s", attempt.job_id, result.verdict)
        return recorded

    def put(self, attempt: Attempt, result: JobResult) -> PendingResult:
        """Write a whole result to the disk; if the disk is full or fails, write nothing."""
        pending = PendingResult(
            attempt.job_id,
            attempt.fence,
            attempt.number,
            result.verdict,
            result.verdict.judges_project and result.sandbox.fallback_reason is None,
            result.model_dump_json(),
            result.sandbox.image_digest or result.sandbox.toolchain or "",
            result.failed_step or "",
            result.duration_s,
            result.queued_s,
        )
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            atomic_write.replace(self._path(pending), json.dumps(asdict(pending)).encode())
        except OSError as error:
            log.warning("job %s: its result is not kept on disk (%s)", pending.job_id, error)
        return pending

    def deliver(self, pending: PendingResult) -> bool:
        """Record a result; return False if another attempt owns the job now.

        Raises:
            BrokerUnavailable: The broker does not answer; the result is still kept.
        """
        attempt = Attempt(pending.job_id, pending.fence, pending.number)
        try:
            with broker_errors(self._url):
                self._ledger.finish(
                    attempt,
                    pending.verdict,
                    pending.result,
                    reusable=pending.reusable,
                    image_digest=pending.image_digest,
                    failed_step=pending.failed_step,
                    duration_s=pending.duration_s,
                    queued_s=pending.queued_s,
                )
            recorded = True
        except LeaseLost as error:
            log.warning("%s", error)
            recorded = False
        with suppress(OSError):  # at worst it is delivered again
            self._path(pending).unlink()
        return recorded

    def flush(self) -> None:
        """Record the results of processes that have ended.

        Raises:
            BrokerUnavailable: The broker does not answer; the remaining results are still kept.
        """
        for path in self._directory.glob("*.json"):
            try:
                if time.time() - path.stat().st_mtime < STALE_S:
                    continue
                fields = json.loads(path.read_text())
                pending = PendingResult(**{**fields, "verdict": Verdict(fields["verdict"])})
            except FileNotFoundError:  # delivered meanwhile
                continue
            except (ValueError, TypeError, KeyError) as error:  # the machine crashed
                log.error("%s: no result (%s), removed", path, error)
                with suppress(OSError):
                    path.unlink()
                continue
            except OSError as error:
                log.error("%s: cannot be read (%s)", path, error)
                continue
            if self.deliver(pending):
                log.warning("job %s: recorded what its process left", pending.job_id)

    def _path(self, pending: PendingResult) -> Path:
        return self._directory / f"{pending.job_id}-{pending.fence}.json"
