"""The embedded broker and a local worker for ``revalid run``.

``revalid run`` uses a running worker only if its fingerprint equals the caller's. Otherwise it
starts a worker in a session of its own, which Ctrl-C does not reach. That worker ends when its
standard input does, and so also when this process is killed.
"""

import fcntl
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from revalid.jobs.errors import BrokerUnavailable, InvalidSettings, RevalidError, WorkerUnavailable
from revalid.jobs.job import Lane
from revalid.jobs.ledger.record import SubmitOutcome
from revalid.jobs.queue import queue_name
from revalid.jobs.settings import PREFIX, Settings
from revalid.jobs.worker_fingerprint import fingerprint, is_served
from revalid.producer.client import Client, JobHandle
from revalid.producer.local.broker import EmbeddedBroker
from revalid.producer.local.broker_supervisor import USERS, open_lock, try_lock
from revalid.producer.local.worker_command import worker_command
from revalid.producer.submission import Submission

START_SECONDS = 20.0
STOP_SECONDS = 15.0
HURRIED_SECONDS = 2.0  # without a broker, no job can be given back
_POLL_SECONDS = 0.02
_LAST_LINES = 5


@contextmanager
def attached(settings: Settings) -> Iterator[Settings]:
    """Yield settings with a broker: the configured one, or the embedded one, kept running inside.

    Raises:
        BrokerUnavailable: The embedded broker did not start.
    """
    settings = absolute(settings)
    if settings.broker_url is not None:
        yield settings.model_copy(update={"embedded": False})
        return
    worker_command()  # an embedded broker is useless without a worker
    broker = EmbeddedBroker(settings.home)
    with broker.attached():
        yield settings.model_copy(update={"broker_url": broker.url, "embedded": True})


@contextmanager
def broker_lease(settings: Settings) -> Iterator[tuple[int, ...]]:
    """Yield descriptors for a worker process, which keep the embedded broker running for it.

    A worker whose parent was killed still needs the broker, to give its job back.
    """
    if not settings.embedded:
        yield ()
        return
    lock = open_lock(EmbeddedBroker(settings.home).directory, USERS)
    try:
        try_lock(lock, fcntl.LOCK_SH)
        yield (lock,)
    finally:
        os.close(lock)


def absolute(settings: Settings) -> Settings:
    """Make all paths absolute: a worker runs in another directory than its caller."""

    def resolved(path: Path | str) -> Path:
        return Path(path).expanduser().resolve()

    update: dict[str, Any] = {"home": resolved(settings.home)}
    for name in ("scratch", "images"):
        if (path := getattr(settings, name)) is not None:
            update[name] = resolved(path)
    for field in ("source_roots", "secret_files"):
        if paths := getattr(settings, field):
            update[field] = tuple(str(resolved(path)) for path in paths)
    return settings.model_copy(update=update)


def worker_environ(settings: Settings) -> dict[str, str]:
    """Return the environment from which a worker reads exactly these settings.

    Raises:
        InvalidSettings: A value in a list contains a comma, the separator of lists.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for field in sorted(settings.model_fields_set):
        value = getattr(settings, field)
        if value is not None:
            name = PREFIX + field.upper()
            environ[name] = _text(name, value)
    return environ


def _text(name: str, value: object) -> str:
    if isinstance(value, tuple):
        if comma := next((word for word in value if "," in word), None):
            raise InvalidSettings(
                f"{name}: {comma!r} contains a comma, the separator of lists: rename it"
            )
        return ",".join(value) or ","
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


class LocalWorker:
    """A worker process that ends with this one.

    Args:
        settings: Settings of the worker.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = fingerprint(settings, os.environ)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - stop() closes it
        with broker_lease(settings) as descriptors:
            self._process = subprocess.Popen(
                worker_command("revalid.worker", "--own-queues", "--exit-with-parent"),
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                env=worker_environ(settings),
                cwd="/",
                start_new_session=True,
                pass_fds=descriptors,
            )

    def wait(self, client: Client, waiting: Callable[[], None] = lambda: None) -> None:
        """Wait until the worker takes jobs; ``waiting`` is called repeatedly.

        Raises:
            WorkerUnavailable: The worker ended, or was not ready within 20 s.
        """
        deadline = time.monotonic() + START_SECONDS
        with client._errors():
            while not is_served(client._redis, self.name):
                self.check()
                waiting()
                if time.monotonic() > deadline:
                    raise WorkerUnavailable(
                        f"the worker was not ready within {START_SECONDS:g} s; {self._last_words()}"
                    )
                time.sleep(_POLL_SECONDS)

    def check(self) -> None:
        """Raise :class:`~revalid.jobs.errors.WorkerUnavailable` if the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise WorkerUnavailable(f"the worker ended with status {code}; {self._last_words()}")

    def stop(self, *, hurried: bool = False) -> None:
        """Stop the worker and its children; with ``hurried``, wait less for returned jobs."""
        assert self._process.stdin is not None  # noqa: S101
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(HURRIED_SECONDS if hurried else STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def end(self, client: Client, *, hurried: bool = False) -> None:
        """Stop the worker, and remove its queues unless the broker is gone."""
        self.stop(hurried=hurried)
        with suppress(RevalidError):
            forget_queues(client, self.name)

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines()]
        last_lines = " | ".join([line for line in lines if line][-_LAST_LINES:])
        end = f"its log ends: {last_lines}" if last_lines else "its log is empty"
        return f"{end}; run `revalid worker` to see the whole log, and `revalid doctor`"


class WorkerProvider:
    """Provides a worker for one caller's job.

    On a broker of the user, these are the workers of that broker. On the embedded broker, it is a
    worker with the caller's fingerprint, started if there is none.

    Args:
        settings: Settings from :func:`attached`.
        waiting: Called repeatedly while a worker starts.
    """

    def __init__(
        self, settings: Settings, client: Client, *, waiting: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._client = client
        self._waiting = waiting
        self._name = fingerprint(settings, os.environ)
        self._own: LocalWorker | None = None
        self._run = uuid.uuid4().hex

    def submit(self, submission: Submission) -> JobHandle:
        """Queue the job, and start a worker if needed; a job with a verdict needs none.

        Raises:
            BrokerUnavailable: The broker cannot be reached or is full.
            WorkerUnavailable: No worker could be started; the job was withdrawn.
        """
        if not self._settings.embedded:
            return self._client.send(submission, run=self._run)
        if self._is_there():
            return self._client.send(submission, worker=self._name, run=self._run)
        own = self._own_settings()
        worker = fingerprint(own, os.environ)
        handle = self._client.send(submission, worker=worker, run=self._run)
        if handle.outcome is SubmitOutcome.REUSED:
            return handle
        try:
            self._start(own)
        except BaseException:
            with suppress(RevalidError):
                self.withdraw(handle)
            raise
        return handle

    def withdraw(self, handle: JobHandle) -> bool:
        """Cancel the job, unless others submitted it too; return whether it ends."""
        with self._client._errors():
            return self._client._ledger.withdraw(handle.id, self._run)

    def check(self, submission: Submission) -> None:
        """Check that the job's worker still runs; start one if another caller's worker ended.

        Raises:
            WorkerUnavailable: The worker that was started here ended.
        """
        if self._own is not None:
            self._own.check()
        elif self._settings.embedded and not self._is_there():
            own = self._own_settings()
            self._start(own)
            self._client.send(submission, worker=fingerprint(own, os.environ), run=self._run)

    def _is_there(self) -> bool:
        with self._client._errors():
            return is_served(self._client._redis, self._name)

    def _own_settings(self) -> Settings:
        return self._settings.model_copy(
            update={"instance": uuid.uuid4().hex, "concurrency": 1, "grace_s": 1.0}
        )

    def _start(self, settings: Settings) -> None:
        self._own = LocalWorker(settings)
        self._own.wait(self._client, self._waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._own is not None:
            self._own.end(self._client, hurried=isinstance(error, BrokerUnavailable))


def forget_queues(client: Client, worker: str) -> None:
    """Remove the queues that only this worker read."""
    client.ping()  # without a broker, Celery would retry for ever
    with client._app.connection_for_write() as connection:
        for lane in Lane:
            known = client._app.amqp.queues[queue_name(lane, worker)]
            queue = known.bind(connection.default_channel)
            queue.declare()
            queue.delete()
