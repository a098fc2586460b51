"""Bubblewrap around the local sandbox's commands, where this machine has it and lets it work."""

import asyncio
import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Self

from revalid.worker.sandboxes.local import readable_paths
from revalid.worker.sandboxes.local.handover import handed_over

_PROBE_TIMEOUT_S = 10.0
_TOLD_BYTES = 4_096
_OPTIONS = ("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL")
# The best that this machine takes: with the first, no command can have a capability over a
# namespace of its own either.
_USERS = (("--unshare-user", "--disable-userns"), ("--unshare-user",), ())
_PROBE = ': >/tmp/written && test $$ -lt 10 && test "$WORKS" = yes'
OWN = ("root", "home", "tmp")
"""What a sandbox has in its directory: its ``/``, its home, and its directory for temporary files.
"""
_SHARED = {"slash-tmp": Path("/tmp"), "shm": Path("/dev/shm")}  # noqa: S108


@functools.cache
def program() -> str:
    """The file of ``bwrap``, found once on the worker's own ``PATH``; empty where there is none."""
    parts = [part for part in os.get_exec_path() if Path(part).is_absolute()]
    found = shutil.which("bwrap", path=os.pathsep.join(parts))
    return os.path.realpath(found) if found else ""


def search_path(passed: Mapping[str, str]) -> str:
    """The ``PATH`` whose tools commands see."""
    return passed.get("PATH") or os.environ.get("PATH") or os.defpath


def make_directories(directory: Path) -> None:
    """Make what stands for ``/tmp`` and ``/dev/shm`` in the jail of the sandbox in ``directory``.

    Commands see them by these names alone, and so cannot put a link in the place of one.
    """
    for name, path in _SHARED.items():
        made = directory / name
        made.mkdir(mode=0o700)
        made.chmod(0o1777)
        if directory.is_relative_to(path):
            # A mount stands on it while a command runs, so none can move it.
            (made / _below(directory, path)).mkdir()


def arguments(
    directory: Path,
    variables: Mapping[str, str],
    hidden: Iterable[Path] = (),
    passed: Mapping[str, str] | None = None,
) -> list[str]:
    """What bubblewrap is to read: its mounts, and the whole environment of the command.

    The command sees the machine's system, the tools on ``PATH`` and what is the sandbox's own,
    which alone is writable: a directory around that is not. The network is the worker's.

    Args:
        directory: The sandbox's, after :func:`make_directories`.
        variables: The command's environment.
        hidden: What the command does not see, wherever it is.
        passed: Variables of the worker that the command gets: it sees what they name.
    """
    given = [part for pair in variables.items() for part in ("--setenv", *pair)]
    return [*(_users() or ()), *_mounts(directory, hidden, passed or {}), *given]


def _mounts(
    directory: Path, hidden: Iterable[Path] = (), passed: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    seen = readable_paths.mounts(search_path(passed), tuple(passed.values()))
    mounts = [part for option in seen for part in option]
    # Of a root's process the kernel would take new values there: ``core_pattern`` is a way out.
    mounts += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"]
    closed = [Path("/dev"), Path("/")]
    places = [place for kind, _, place in seen if kind == "--ro-bind"]
    for path in readable_paths.covers((*hidden, *readable_paths.private_system_files()), places):
        if path.is_dir():
            mounts += ["--tmpfs", str(path)]
            closed.append(path)
        else:
            mounts += ["--ro-bind", os.devnull, str(path)]
    around = directory
    for name, path in _SHARED.items():
        mounts += ["--bind", str(directory / name), str(path)]
        if directory.is_relative_to(path):
            around = path / _below(directory, path)
    mounts += ["--tmpfs", str(around)]
    for name in OWN:
        mounts += ["--bind", str(directory / name), str(directory / name)]
    for path in (around, *closed):
        mounts += ["--remount-ro", str(path)]
    return [*_OPTIONS, *mounts]


def command(descriptor: int, told: int | None = None) -> tuple[str, ...]:
    """What a command is started by.

    Args:
        descriptor: Has the :func:`arguments`.
        told: Gets bubblewrap's word of the first process in the jail, as JSON.
    """
    telling = () if told is None else ("--info-fd", str(told))
    return (program(), "--args", str(descriptor), *telling, "--")


class FirstProcess:
    """The first process in a jail: when it has ended, the kernel has ended every other there.

    Attributes:
        writer: Where bubblewrap says which one it is.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        os.close(self.writer)

    async def ended(self, within_s: float) -> bool:
        """End it, and wait for that; to be called once bubblewrap itself has ended.

        It ends with bubblewrap, but a command may trace it, and have it forget that.
        """
        try:
            number = json.loads(os.read(self._reader, _TOLD_BYTES))["child-pid"]
            process = os.pidfd_open(number)
        except (OSError, ValueError):  # it was not started, or has ended
            return True
        gone, loop = asyncio.Event(), asyncio.get_running_loop()
        with suppress(OSError):
            if _is_first(number):  # and not another's, which has its number now
                signal.pidfd_send_signal(process, signal.SIGKILL)
        loop.add_reader(process, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), within_s)
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(process)
            os.close(process)
        return True


def _is_first(number: int) -> bool:
    status = Path(f"/proc/{number}/status").read_text().splitlines()
    (numbers,) = (line.split()[1:] for line in status if line.startswith("NSpid:"))
    return len(numbers) > 1 and numbers[-1] == "1"


def works() -> bool:
    """Whether bubblewrap is here and may make its namespaces; asked once in a process."""
    return _users() is not None


@functools.cache
def _users() -> tuple[str, ...] | None:
    return next((users for users in _USERS if program() and _runs(users)), None)


def _runs(users: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory(prefix="revalid-") as made:
        directory = Path(os.path.realpath(made))
        for name in OWN:
            (directory / name).mkdir()
        make_directories(directory)
        with handed_over([*users, *_mounts(directory), "--setenv", "WORKS", "yes"]) as descriptor:
            try:
                done = subprocess.run(
                    [*command(descriptor), "/bin/sh", "-c", _PROBE],
                    env={},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    pass_fds=[descriptor],
                    timeout=_PROBE_TIMEOUT_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired):
                return False
        return done.returncode == 0


def _below(directory: Path, path: Path) -> str:
    return directory.relative_to(path).parts[0]
