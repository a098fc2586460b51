"""The embedded broker: a Valkey server on a unix socket that runs as long as somebody uses it.

All processes with the same home share one server. ``broker_supervisor`` owns the server and
documents the lock files.
"""

import fcntl
import hashlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from revalid.jobs.errors import BrokerUnavailable
from revalid.producer.local.broker_supervisor import (
    ALIVE,
    PINNED,
    START,
    USERS,
    close_lock,
    open_lock,
    spawn,
    take_lock,
    try_lock,
)

START_SECONDS = 10.0
STOP_SECONDS = 5.0
MAX_SOCKET_BYTES = 100  # the kernel's limit is 108 on Linux and 104 on macOS


@dataclass(frozen=True)
class BrokerStatus:
    """The state of a home's broker.

    Attributes:
        running: Whether a server answers.
        pid: Process id of the supervisor, or None.
        pinned: Whether the broker runs until ``stop``, even without users.
    """

    running: bool
    url: str
    pid: int | None
    data_dir: Path
    pinned: bool


class EmbeddedBroker:
    """The broker of a home directory, shared by all processes with that home.

    All state is under ``home/broker``. The socket is in a private directory in ``/tmp`` if its path
    would be too long otherwise.

    Attributes:
        url: URL for ``redis.Redis.from_url``.
        celery_url: URL for Celery's broker and result backend.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.directory = self.home / "broker"
        self.data_dir = self.directory / "data"
        self.log = self.directory / "broker.log"
        self._pin = self.directory / PINNED
        self.socket = self.directory / "broker.sock"
        if len(os.fsencode(self.socket)) > MAX_SOCKET_BYTES:
            # Not tempfile.gettempdir(): every process must find it, whatever its TMPDIR says.
            name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
            self.socket = Path("/tmp") / f"revalid-{os.geteuid()}-{name}" / "broker.sock"  # noqa: S108
        path = quote(os.fsencode(self.socket))
        self.url = f"unix://{path}?db=0"
        self.celery_url = f"redis+socket://{path}?virtual_host=0"

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Use the broker: start it if needed, and stop it when the last user leaves.

        The last user waits up to 5 s until the broker is gone. Any number of processes and threads
        may enter, also nested. A forked child shares its parent's use.

        Raises:
            BrokerUnavailable: No server answered within 10 s, or the home cannot be used.
        """
        users = self._enter(pin=False)
        owner = os.getpid()
        try:
            yield
        finally:
            self._leave(users, mine=os.getpid() == owner)

    def start(self) -> BrokerStatus:
        """Start the broker if none runs, and keep it running until ``stop``.

        Raises:
            BrokerUnavailable: No server answered within 10 s, or the home cannot be used.
        """
        users = self._enter(pin=True)
        try:
            return self.status()
        finally:
            self._leave(users, mine=True)

    def stop(self) -> bool:
        """Stop the broker, even if it is pinned or in use; return False if none ran. Data stays.

        Raises:
            BrokerUnavailable: It still ran after 5 s, or the home cannot be used.
        """
        if not self.directory.is_dir():
            return False
        with self._explained(), self._starting(time.monotonic() + START_SECONDS):
            self._pin.unlink(missing_ok=True)
            if not self._alive():
                return False
            if not self._end():
                raise BrokerUnavailable(
                    f"the embedded broker in {self.directory} did not stop within "
                    f"{STOP_SECONDS:g} s: read {self.log}, then end process {self._pid()}"
                )
            return True

    def status(self) -> BrokerStatus:
        """Return the broker's state, without starting it.

        Raises:
            BrokerUnavailable: The home cannot be used.
        """
        with self._explained():
            alive = self._alive()
            return BrokerStatus(
                running=alive and self._answers(),
                url=self.url,
                pid=self._pid() if alive else None,
                data_dir=self.data_dir,
                pinned=alive and self._pin.exists(),
            )

    def _enter(self, *, pin: bool) -> int:
        """Become a user of a running broker; return the lock for ``_leave``."""
        deadline = time.monotonic() + START_SECONDS
        with self._explained():
            self._make_directories()
            users = open_lock(self.directory, USERS)
            try:
                if not take_lock(users, fcntl.LOCK_SH, deadline):
                    raise self._unready("is still stopping", self._log_size())
                with self._starting(deadline):
                    self._ensure_server(deadline)
                    if pin:
                        self._pin.touch()
            except BaseException:
                close_lock(users)
                raise
        return users

    def _leave(self, users: int, *, mine: bool) -> None:
        """Stop being a user; the last user stops the broker.

        start.lock ensures that exactly one of many leaving users is the last. If this fails, the
        supervisor notices within one poll that the lock is free.
        """
        if not mine:
            os.close(users)
            return
        deadline = time.monotonic() + STOP_SECONDS
        try:
            with suppress(OSError, BrokerUnavailable), self._starting(deadline):
                if not self._pin.exists():
                    # If neither lock is free, the supervisor holds it and is about to end.
                    alone = try_lock(users, fcntl.LOCK_EX)
                    if alone or not try_lock(users, fcntl.LOCK_SH):
                        self._end()
        finally:
            close_lock(users)

    def _ensure_server(self, deadline: float) -> None:
        mark = self._log_size()
        spawned = False
        while not self._answers():
            if not self._alive():
                if spawned:
                    raise self._unready("ended before it answered", mark)
                spawned = True
                code = spawn(self.directory, self.socket, self.log, START_SECONDS)
                if code != 0:
                    raise self._unready(f"did not start (exit code {code})", mark)
            if time.monotonic() > deadline:
                raise self._unready(f"did not answer within {START_SECONDS:g} s", mark)
            time.sleep(0.005)

    def _end(self) -> bool:
        """Shut down; return whether server and supervisor ended in time."""
        deadline = time.monotonic() + STOP_SECONDS
        while self._alive():
            if time.monotonic() > deadline:
                return False
            self._ask(b"SHUTDOWN")
            time.sleep(0.005)
        return True

    def _alive(self) -> bool:
        try:
            lock = os.open(self.directory / ALIVE, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not try_lock(lock, fcntl.LOCK_SH)
        finally:
            close_lock(lock)

    def _pid(self) -> int | None:
        text = (self.directory / ALIVE).read_text()
        return int(text) if text else None

    def _answers(self) -> bool:
        return self._ask(b"PING").startswith(b"+PONG")

    def _ask(self, command: bytes) -> bytes:
        """Send one inline command; return the reply, or nothing if none comes within a second.

        It does not use redis-py, whose import takes longer than the rest of a start.
        """
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1)
            try:
                link.connect(os.fsencode(self.socket))
                link.sendall(command + b"\r\n")
                return link.recv(64)
            except OSError:
                return b""

    def _make_directories(self) -> None:
        for directory in (self.directory, self.data_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        if self.socket.parent != self.directory:
            self._trust(self.socket.parent)

    def _trust(self, directory: Path) -> None:
        """Create a directory in /tmp, or check that this user created it."""
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        status = directory.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if not ours or stat.S_IMODE(status.st_mode) != 0o700:
            raise BrokerUnavailable(
                f"the embedded broker's socket directory {directory} is not this user's alone "
                f"(a directory with mode 0700): remove it, or use a home shorter than {self.home}"
            )

    @contextmanager
    def _starting(self, deadline: float) -> Iterator[None]:
        lock = open_lock(self.directory, START)
        try:
            if not take_lock(lock, fcntl.LOCK_EX, deadline):
                raise self._unready("is being started or stopped elsewhere", self._log_size())
            yield
        finally:
            close_lock(lock)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BrokerUnavailable(
                f"the embedded broker cannot use {error.filename or self.directory}: "
                f"{error.strerror}: let this user use it ({self.directory} must be a directory "
                "that it can write), or use another home or a Redis of your own"
            ) from error

    def _unready(self, what: str, mark: int) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"the embedded broker in {self.directory} {what}; {self._last_words(mark)}: "
            f"read {self.log}, move {self.data_dir} aside if it is damaged, or use a Redis of "
            "your own"
        )

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _last_words(self, mark: int) -> str:
        if self._log_size() < mark:
            mark = 0  # a new log was begun
        lines = self.log.read_bytes()[mark:].split(b"\n") if self.log.exists() else []
        texts = [line.decode(errors="replace").strip() for line in lines if line.strip()]
        return f"its log ends with {texts[-1]!r}" if texts else "its log is empty"
