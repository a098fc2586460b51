"""The Celery app of Flower: it listens to workers, and queries them only if its user may."""

import ast
from contextlib import suppress
from typing import Any

from celery.app.control import Control
from celery.events.state import Task
from flower.options import options
from kombu.exceptions import OperationalError
from redis.exceptions import NoPermissionError

from revalid.jobs.connection import connect
from revalid.worker.app import app, url


class FlowerControl(Control):
    """Remote control for the role ``flower``; a refused query must not stop Flower's events."""

    def broadcast(self, *args: Any, **kwargs: Any) -> Any:
        """Query the workers; return None if Redis refuses that."""
        try:
            return super().broadcast(*args, **kwargs)
        except NoPermissionError:
            return None
        except OperationalError as error:
            if isinstance(error.__cause__, NoPermissionError):
                return None
            raise


def format_task(task: Task) -> Task:
    """Format a job's names without the brackets and quotes that Flower's search needs."""
    with suppress(ValueError, SyntaxError, AttributeError):  # an older producer wrote another form
        names = ast.literal_eval(task.kwargs or "")
        task.kwargs = " ".join(f"{name}={value}" for name, value in names.items())
    return task


options.format_task = format_task
app.control_cls = f"{__name__}:{FlowerControl.__name__}"
# Flower counts what waits over a connection of its own, which reads no query of a URL.
redis_options = connect(url).connection_pool.connection_kwargs
app.conf.broker_use_ssl = {n: v for n, v in redis_options.items() if n.startswith("ssl_")}
