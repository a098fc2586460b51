"""Configures the worker's log: each line, including Celery's, is text or one JSON object."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from revalid.jobs.settings import LogFormat


def configure_logging(log_format: LogFormat, level: int) -> None:
    """Send all log records from ``level`` upwards to one handler on standard error.

    Lines include the values of :func:`structlog.contextvars.bound_contextvars`: ``job_id``,
    ``attempt`` and ``tenant`` while an attempt runs.
    """
    # structlog would add local variables to tracebacks: some are secrets.
    trace = structlog.dev.plain_traceback
    renderers: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=trace, pad_event_to=0
            )
        ]
    )
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _add_origin,
            ],
            processors=[ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    pool = logging.getLogger("multiprocessing")  # a pool's child adds a handler to it
    pool.handlers = []
    pool.propagate = True
    pool.setLevel(logging.ERROR)


def _add_origin(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the process id, and the job id if Celery logs about its task."""
    record: logging.LogRecord = line["_record"]
    line["pid"] = record.process
    task = getattr(record, "data", None)
    if isinstance(task, dict) and "id" in task:
        line.setdefault("job_id", task["id"])
    return line
