"""The Celery app of workers and Flower, and its one task."""

import logging
import os
import signal
from functools import cache
from typing import Any

from celery import Task
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown

from revalid.jobs.errors import InvalidSettings, JobNotPassed
from revalid.jobs.images import load_images
from revalid.jobs.queue import TASK, make_app
from revalid.jobs.settings import Settings, load_settings
from revalid.worker import results, transport
from revalid.worker.executor import JobExecutor
from revalid.worker.logs import configure_logging
from revalid.worker.task_outcome import JobRequest


def _settings() -> Settings:
    embedded = os.environ.get("REVALID_EMBEDDED")
    return load_settings(**({"env_file": None} if embedded else {}))


settings = _settings()
if settings.broker_url is None:
    raise InvalidSettings("REVALID_BROKER_URL is not set: name the Redis that jobs wait in")
load_images(settings.images)  # a wrong table ends the worker at once
url = settings.broker_url
transport.install()
app = make_app(settings, url)
results.install(app)


@cache
def executor() -> JobExecutor:
    """Return this process's executor, made with its first job."""
    return JobExecutor(settings, url, app)


@app.task(name=TASK, bind=True, Request=JobRequest, throws=(JobNotPassed,))
def validate(self: "Task[Any, Any]", message: Any) -> dict[str, Any]:
    """Run the job that a doorbell names."""

    def progress(meta: dict[str, Any]) -> None:
        self.update_state(state="PROGRESS", meta=meta)  # no event: Flower would filter by it

    job_executor = executor()
    # Celery's pool sets its own handler after every hook, so ours is set for each job.
    previous_handler = signal.signal(signal.SIGTERM, lambda *_: job_executor.release())
    try:
        return job_executor.execute(message, progress)
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


@setup_logging.connect
def _on_logging(loglevel: int, **_: Any) -> None:
    configure_logging(settings.log_format, loglevel)


@worker_process_init.connect
def _on_start(**_: Any) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each query to the engine


@worker_process_shutdown.connect
def _on_shutdown(**_: Any) -> None:
    if executor.cache_info().currsize:
        executor().close()
