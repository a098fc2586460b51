"""Removes stored files that were unused for longer than results are kept."""

import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from revalid.jobs.ledger.keys import artifact_key, blob_key
from revalid.jobs.projects.blobs import MIN_TTL_S, directory_of
from revalid.jobs.settings import Settings
from revalid.worker.file_trees import remove_tree

_STORED = re.compile(f"({blob_key('')}|{artifact_key('')})[0-9a-f]{{64}}")
_JOB = re.compile(r"[0-9a-f]{32}")

log = logging.getLogger("revalid.worker")


def purge(settings: Settings) -> int:
    """Remove old stored files and old exports; return their number.

    Only names that revalid gives are removed. An object store has its own rules.
    """
    oldest = time.time() - max(settings.result_ttl_s, MIN_TTL_S)
    removed = 0
    if (blobs := directory_of(settings)) is not None:
        removed += _remove(blobs, _STORED, oldest)
    removed += _remove(settings.home / "artifacts", _JOB, oldest)
    if removed:
        log.info("%d old stored files and exports removed", removed)
    return removed


def _remove(directory: Path, names: re.Pattern[str], oldest: float) -> int:
    removed = 0
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if not names.fullmatch(entry.name):
                continue
            with suppress(OSError):  # another worker may have removed it
                if _last_used(Path(entry.path)) < oldest:
                    if entry.is_dir(follow_symlinks=False):
                        remove_tree(Path(entry.path))
                    else:
                        Path(entry.path).unlink()
                    removed += 1
    return removed


def _last_used(path: Path) -> float:
    """Return when a file, or a job's directory of exports, was last changed."""
    inner = [child.lstat().st_mtime for child in path.iterdir()] if path.is_dir() else []
    return max([path.lstat().st_mtime, *inner])
