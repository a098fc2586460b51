"""The commands ``worker``, ``flower``, ``metrics`` and ``broker``: long-running processes."""

import hashlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server
from rich.text import Text

from revalid.jobs.connection import redact
from revalid.jobs.errors import InvalidSettings
from revalid.jobs.settings import Settings, load_settings
from revalid.producer.cli.output import console, print_json
from revalid.producer.client import Client
from revalid.producer.local.broker import BrokerStatus, EmbeddedBroker
from revalid.producer.local.worker_command import worker_command
from revalid.producer.local.workers import absolute, attached, broker_lease, worker_environ
from revalid.producer.metrics import LedgerCollector
from revalid.producer.sanitize import one_line

_SECONDS = "1,2,5,10,20,30,60,120,300,600,900"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def worker(concurrency: int | None) -> int:
    """Run a worker in the foreground; return its exit status."""
    worker_command()
    settings = load_settings()
    if concurrency is not None:
        settings = settings.model_copy(update={"concurrency": concurrency})
    with on_broker(settings) as (reached, _):
        arguments, environ = ["worker", "--exit-with-parent"], worker_environ(reached)
        with broker_lease(reached) as descriptors:
            return _foreground(arguments, environ, pass_fds=descriptors)


def flower() -> int:
    """Run Flower in the foreground; return its exit status."""
    worker_command()
    settings = load_settings()
    with on_broker(settings) as (reached, _):
        # The password goes through the environment: everybody can read argument lists.
        environ = worker_environ(reached) | {
            "FLOWER_READ_ONLY": "true",
            "FLOWER_ENABLE_EVENTS": "false",  # a command to workers, which send events anyway
            "FLOWER_MAX_TASKS": "10000",
            "FLOWER_PERSISTENT": "true",
            "FLOWER_DB": str(_flower_state(reached)),
            "FLOWER_STATE_SAVE_INTERVAL": "60000",
            "FLOWER_PURGE_OFFLINE_WORKERS": "86400",  # else all old workers are shown
            "FLOWER_NATURAL_TIME": "true",
            "FLOWER_TASKS_COLUMNS": "state,result,kwargs,received,runtime,worker,uuid",
            "FLOWER_TASK_RUNTIME_METRIC_BUCKETS": _SECONDS,
        }
        address = "127.0.0.1"
        if settings.flower_auth is not None:
            if ":" not in settings.flower_auth:
                raise InvalidSettings("REVALID_FLOWER_AUTH: write user:password")
            environ["FLOWER_BASIC_AUTH"] = settings.flower_auth
            address = "0.0.0.0"  # noqa: S104
        port = _free_port(address, settings.flower_port)
        shown = "127.0.0.1" if settings.flower_auth is None else socket.gethostname()
        console().print(f"Flower, read only, on http://{shown}:{port}; Ctrl-C ends it")
        sys.stdout.flush()
        options = [f"--address={address}", f"--port={port}"]
        command = ["celery", "-A", "revalid.worker.flower_app", "flower", *options]
        return _foreground(command, environ, umask=0o077)


def metrics() -> int:
    """Serve ``/metrics`` in the foreground; return the exit status."""
    settings = load_settings()
    host, _, port = settings.metrics_listen.rpartition(":")
    with on_broker(settings) as (_, client):
        registry = CollectorRegistry()
        registry.register(LedgerCollector(client._ledger, client.url))
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # for the server's threads too
        try:
            server, _thread = start_http_server(int(port), host.strip("[]"), registry)
        except (OSError, OverflowError) as error:
            raise InvalidSettings(
                f"REVALID_METRICS_LISTEN {settings.metrics_listen}: {error}; "
                "set another, or port 0 for any"
            ) from None
        shown = f"http://{host}:{server.server_port}/metrics"
        console().print(f"Prometheus metrics on {shown}; Ctrl-C ends it")
        sys.stdout.flush()
        signal.sigwait(_SIGNALS)
        server.shutdown()
    return 0


def broker_start() -> int:
    """Start the embedded broker, pin it, and print its URL."""
    broker_state = _broker().start()
    console().print(broker_state.url)
    console(stderr=True).print(Text("runs until `revalid broker stop`", "dim"))
    return 0


def broker_stop() -> int:
    """Stop the embedded broker."""
    stopped = _broker().stop()
    console().print("stopped" if stopped else "it did not run")
    return 0


def broker_status(*, json: bool) -> int:
    """Print the state of the embedded broker."""
    broker_state: BrokerStatus = _broker().status()
    facts = {
        "running": broker_state.running,
        "url": broker_state.url,
        "pid": broker_state.pid,
        "data_dir": str(broker_state.data_dir),
        "pinned": broker_state.pinned,
    }
    if json:
        print_json(facts)
        return 0
    out = console()
    until = "until `revalid broker stop`" if broker_state.pinned else "as long as it is used"
    out.print(
        f"running, {until}" if broker_state.running else "not running: it starts when it is needed"
    )
    for name in ("url", "pid", "data_dir"):
        if facts[name] is not None:
            label = f"{name.replace('_', ' '):<10}"
            out.print(Text.assemble((label, "dim"), one_line(str(facts[name]))))
    return 0


def _broker() -> EmbeddedBroker:
    return EmbeddedBroker(absolute(load_settings()).home)


@contextmanager
def on_broker(settings: Settings) -> Iterator[tuple[Settings, Client]]:
    """Yield settings and a client of a broker that answers."""
    with attached(settings) as reached, Client(reached) as client:
        client.ping()
        yield reached, client


def _flower_state(settings: Settings) -> Path:
    """Return the file of Flower's tasks for this broker; a pickle, which nobody else may write."""
    directory = settings.home / "flower"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise InvalidSettings(
            f"REVALID_HOME {settings.home}: {error.strerror}: set it to a directory you can write"
        ) from None
    broker = redact(settings.broker_url or "")
    return directory / hashlib.sha256(broker.encode()).hexdigest()[:12]


def _free_port(address: str, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise InvalidSettings(
                f"REVALID_FLOWER_PORT {port}: {error.strerror}; set another, or 0 for any"
            ) from None
        return int(probe.getsockname()[1])


def _foreground(
    module: Sequence[str],
    environ: Mapping[str, str],
    *,
    pass_fds: tuple[int, ...] = (),
    umask: int = -1,
) -> int:
    """Run ``python -m module`` until it ends, and forward signals to it.

    It has a session of its own; otherwise Ctrl-C in a terminal would reach it twice.
    """
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        if process is None:
            raise KeyboardInterrupt
        process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _SIGNALS}
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *module],
            stdin=subprocess.PIPE,
            env=environ,
            cwd="/",
            start_new_session=True,
            pass_fds=pass_fds,
            umask=umask,
        )
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
