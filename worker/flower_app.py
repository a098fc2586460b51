"""The Celery app of Flower: it hears workers, and asks them nothing where its user may not."""

from typing import Any

from celery.app.control import Control
from kombu.exceptions import OperationalError
from redis.exceptions import NoPermissionError

from revalid.jobs.connection import connect
from revalid.worker.app import app, url


class FlowerControl(Control):
    """Remote control for the role ``flower``: a refusal would keep Flower from hearing events."""

    def broadcast(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the workers; None where Redis refuses that."""
        try:
            return super().broadcast(*args, **kwargs)
        except NoPermissionError:
            return None
        except OperationalError as error:
            if isinstance(error.__cause__, NoPermissionError):
                return None
            raise


app.control_cls = f"{__name__}:{FlowerControl.__name__}"
# Flower counts what waits over a connection of its own, which reads no query of a URL.
options = connect(url).connection_pool.connection_kwargs
app.conf.broker_use_ssl = {n: v for n, v in options.items() if n.startswith("ssl_")}
