"""Celery's result backend, for Flower and AsyncResult only; no job depends on it."""

import logging
from typing import Any

from celery import Celery
from celery.backends.redis import RedisBackend
from redis.exceptions import OutOfMemoryError

from revalid.jobs.errors import JobNotPassed
from revalid.worker.task_outcome import celery_state

log = logging.getLogger("revalid.worker")


class Backend(RedisBackend):
    """Celery's Redis backend, except that jobs still start and end if Redis is full."""

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **options: Any,
    ) -> Any:
        """Store a state as Celery does; if Redis is full, the previous state stays."""
        if isinstance(result, JobNotPassed):
            state, traceback = celery_state(result), None
        try:
            return super().store_result(task_id, result, state, traceback, request, **options)
        except OutOfMemoryError as error:
            log.warning("job %s: Celery's state of it stays (%s)", task_id, error)
            return result


def install(app: Celery) -> None:
    """Make the app keep its results in this backend."""
    url = str(app.conf.result_backend).removeprefix("redis+")
    app.conf.update(result_backend=f"{__name__}:{Backend.__qualname__}+{url}")
