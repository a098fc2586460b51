"""``python -m revalid.worker``: a Celery worker with a pool, queues and shutdown for long jobs."""

import argparse
import logging
import os
import secrets
import socket
import sys
import threading
from typing import Any

from celery.bootsteps import StartStopStep
from celery.signals import (
    celeryd_after_setup,
    task_revoked,
    worker_ready,
    worker_shutting_down,
)

from revalid.jobs.errors import RevalidError
from revalid.jobs.job import Lane
from revalid.jobs.queue import queue_name
from revalid.jobs.worker_fingerprint import fingerprint
from revalid.worker.children import Pool
from revalid.worker.logs import configure_logging
from revalid.worker.process_names import START
from revalid.worker.supervisor import Supervisor

PULSE_EVERY_S = 2.0


def main() -> int:
    """Run the worker until it is told to stop; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m revalid.worker", description=__doc__)
    parser.add_argument(
        "--own-queues", action="store_true", help="take only jobs sent to workers like this one"
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="stop when standard input closes"
    )
    options = parser.parse_args()
    os.environ[START] = start = secrets.token_hex(4)  # for the children, which inherit it
    try:
        from revalid.worker import app as application
    except RevalidError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    settings, app = application.settings, application.app
    configure_logging(settings.log_format, logging.INFO)  # Celery warns before it asks for it
    if settings.log_format == "json":  # Celery prints its banner and its last lines as text
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    own = fingerprint(settings, os.environ)
    queues = [queue_name(lane, own) for lane in Lane]
    if not options.own_queues:
        queues = [*(queue_name(lane) for lane in Lane), *queues]
    hostname = f"revalid-{os.getpid()}-{start}@{socket.gethostname()}"
    supervisor = Supervisor(settings, application.url, app, hostname, queues)
    celeryd_after_setup.connect(_quiet_children, weak=False)
    worker_ready.connect(lambda **_: supervisor.start(), weak=False)
    worker_shutting_down.connect(lambda **_: supervisor.drain(settings.grace_s), weak=False)
    asked_to_stop = threading.Event()
    worker_shutting_down.connect(lambda **_: asked_to_stop.set(), weak=False)
    task_revoked.connect(lambda request, **_: supervisor.cancel_revoked(request.id), weak=False)
    app.steps["consumer"].add(_consumer_pulse(supervisor))
    if options.exit_with_parent:
        threading.Thread(target=_stop_at_end_of_input, args=(supervisor,), daemon=True).start()
    worker = app.Worker(
        hostname=hostname,
        pool_cls=Pool,
        concurrency=settings.concurrency,
        queues=queues,
        without_gossip=True,
        without_mingle=True,
        loglevel=logging.INFO,
    )
    worker.start()
    # After SIGINT Celery reports a failure.
    return 0 if asked_to_stop.is_set() else int(worker.exitcode or 0)


def _consumer_pulse(supervisor: Supervisor) -> type[StartStopStep]:
    """Make a step of Celery's consumer whose timer stops when the consumer hangs."""

    class Pulse(StartStopStep):
        _timer: Any = None

        def start(self, consumer: Any) -> None:
            self._timer = consumer.timer.call_repeatedly(
                PULSE_EVERY_S, supervisor.note_consumer_alive
            )

        def stop(self, _consumer: Any) -> None:
            if self._timer is not None:  # Celery also stops a consumer that did not start
                self._timer.cancel()

    return Pulse


def _quiet_children(**_: Any) -> None:
    """Keep a child from logging its start in another format, before its log is set up."""
    os.environ.pop("_MP_FORK_LOGLEVEL_", None)


def _stop_at_end_of_input(supervisor: Supervisor) -> None:
    while os.read(0, 65_536):  # sys.stdin's lock would abort an exit for another reason
        pass
    supervisor.leave()


if __name__ == "__main__":
    sys.exit(main())
