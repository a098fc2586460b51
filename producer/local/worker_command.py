"""Command lines of processes of the worker package, which the producer does not import."""

import importlib.util
import sys

from revalid.jobs.errors import WorkerUnavailable


def worker_command(module: str = "revalid.worker", *arguments: str) -> list[str]:
    """Return the command line that runs a module of the worker package, in this Python.

    Raises:
        WorkerUnavailable: The worker package is not installed.
    """
    if importlib.util.find_spec("revalid.worker") is None:
        raise WorkerUnavailable(
            "only revalid-client is installed, without worker, broker and Flower: set "
            "REVALID_BROKER_URL to a Redis whose workers take jobs, or `pip install revalid`"
        )
    return [sys.executable, "-P", "-m", module, *arguments]
