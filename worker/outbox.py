"""Finished results on disk until the ledger has them: also when the worker is killed meanwhile."""

import hashlib
import json
import logging
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from revalid.jobs import atomic_write
from revalid.jobs.connection import broker_errors, redact
from revalid.jobs.errors import LeaseLost
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.record import Attempt
from revalid.jobs.result import JobResult, Verdict

STALE_S = 5.0
"""Age from which on a result is anybody's to deliver: its own process would have."""

log = logging.getLogger("revalid.worker")


@dataclass(frozen=True, slots=True)
class PendingResult:
    """A result on its way, with all that recording it takes."""

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
    """A directory of letters; those for another broker are left alone."""

    def __init__(self, home: Path, ledger: Ledger, url: str) -> None:
        self._ledger = ledger
        self._url = url
        self._directory = (
            home / "unrecorded" / hashlib.sha256(redact(url).encode()).hexdigest()[:16]
        )

    def put(self, attempt: Attempt, result: JobResult) -> PendingResult:
        """Keep a result; it is whole on disk, or not there where the disk refuses."""
        letter = PendingResult(
            attempt.job_id,
            attempt.fence,
            attempt.number,
            result.verdict,
            result.verdict.judges_project and result.sandbox.fallback_reason is None,
            result.model_dump_json(),
            result.sandbox.image_digest or "",
            result.failed_step or "",
            result.duration_s,
            result.queued_s,
        )
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            atomic_write.replace(self._path(letter), json.dumps(asdict(letter)).encode())
        except OSError as error:
            log.warning("job %s: its result is not kept on disk (%s)", letter.job_id, error)
        return letter

    def deliver(self, letter: PendingResult) -> bool:
        """Record a result; False where another attempt owns the job now.

        Raises:
            BrokerUnavailable: It is still kept.
        """
        attempt = Attempt(letter.job_id, letter.fence, letter.number)
        try:
            with broker_errors(self._url):
                self._ledger.finish(
                    attempt,
                    letter.verdict,
                    letter.result,
                    reusable=letter.reusable,
                    image_digest=letter.image_digest,
                    failed_step=letter.failed_step,
                    duration_s=letter.duration_s,
                    queued_s=letter.queued_s,
                )
            recorded = True
        except LeaseLost as error:
            log.warning("%s", error)
            recorded = False
        with suppress(OSError):  # at the worst it is delivered again
            self._path(letter).unlink()
        return recorded

    def flush(self) -> None:
        """Record what processes that are gone have left.

        Raises:
            BrokerUnavailable: The rest is still kept.
        """
        for path in self._directory.glob("*.json"):
            try:
                if time.time() - path.stat().st_mtime < STALE_S:
                    continue
                fields = json.loads(path.read_text())
                letter = PendingResult(**{**fields, "verdict": Verdict(fields["verdict"])})
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
            if self.deliver(letter):
                log.warning("job %s: recorded what its process left", letter.job_id)

    def _path(self, letter: PendingResult) -> Path:
        return self._directory / f"{letter.job_id}-{letter.fence}.json"
