"""Removes old files and the files of killed processes, in a thread of its own."""

import logging
import threading
from time import monotonic

from revalid.jobs.settings import Settings
from revalid.worker.retention import purge
from revalid.worker.scratch import sweep

SWEEP_EVERY_S = 60.0
PURGE_EVERY_S = 3_600.0

log = logging.getLogger("revalid.worker")


def maintain_files(settings: Settings, stopped: threading.Event) -> None:
    """Sweep scratch directories every minute and stored files every hour, until stopped."""
    purged_at = float("-inf")
    while True:
        try:
            sweep(settings.scratch)
            if monotonic() - purged_at > PURGE_EVERY_S:
                purged_at = monotonic()
                purge(settings)
        except Exception:
            log.exception("old files were not removed")
        if stopped.wait(SWEEP_EVERY_S):
            return
