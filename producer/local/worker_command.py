"""How processes of the worker's side are started, which the producer's side does not import."""

import importlib.util
import sys

from revalid.jobs.errors import WorkerUnavailable


def worker_command(module: str = "revalid.worker", *arguments: str) -> list[str]:
    """The command line of a module of the worker's side, in this Python.

    Raises:
        WorkerUnavailable: The worker's side is not installed.
    """
    if importlib.util.find_spec("revalid.worker") is None:
        raise WorkerUnavailable(
            "revalid-client is installed, which has no worker, broker or Flower of its own: set "
            "REVALID_BROKER_URL to a Redis whose workers take jobs, or `pip install revalid`"
        )
    return [sys.executable, "-P", "-m", module, *arguments]
