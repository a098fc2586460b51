"""Celery's small results, which are for Flower and AsyncResult: no job waits for one."""

import logging
from typing import Any

from celery import Celery
from celery.backends.redis import RedisBackend
from redis.exceptions import OutOfMemoryError

from revalid.jobs.errors import JobNotPassed
from revalid.worker.task_outcome import celery_state

log = logging.getLogger("revalid.worker")


class Backend(RedisBackend):
    """Celery's, but a full Redis keeps no job from its start or its end."""

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **options: Any,
    ) -> Any:
        """As Celery's; where Redis is full the state that it has stays."""
        if isinstance(result, JobNotPassed):
            state, traceback = celery_state(result), None
        try:
            return super().store_result(task_id, result, state, traceback, request, **options)
        except OutOfMemoryError as error:
            log.warning("job %s: Celery's state of it stays (%s)", task_id, error)
            return result


def install(app: Celery) -> None:
    """Have the app keep its results there."""
    url = str(app.conf.result_backend).removeprefix("redis+")
    app.conf.update(result_backend=f"{__name__}:{Backend.__qualname__}+{url}")
