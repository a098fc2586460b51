"""Runs the local sandbox's commands in bubblewrap, on machines where it works."""

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
from revalid.worker.sandboxes.local.argument_file import argument_file

_PROBE_TIMEOUT_S = 10.0
_INFO_BYTES = 4_096
_OPTIONS = ("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL")
# The first of these that works is used. With the first, no command can have a capability even over
# a namespace of its own.
_USER_NAMESPACES = (("--unshare-user", "--disable-userns"), ("--unshare-user",), ())
_PROBE_COMMAND = ': >/tmp/written && test $$ -lt 10 && test "$WORKS" = yes'
OWN_DIRECTORIES = ("root", "home", "tmp")
"""Names in a sandbox's directory: its ``/``, its home, and its directory for temporary files."""
_SHARED = {"slash-tmp": Path("/tmp"), "shm": Path("/dev/shm")}  # noqa: S108


@functools.cache
def program() -> str:
    """Return the path of ``bwrap`` on the worker's own ``PATH``; empty if it is missing."""
    parts = [part for part in os.get_exec_path() if Path(part).is_absolute()]
    path = shutil.which("bwrap", path=os.pathsep.join(parts))
    return os.path.realpath(path) if path else ""


def search_path(passed: Mapping[str, str]) -> str:
    """Return the ``PATH`` whose tools commands can use."""
    return passed.get("PATH") or os.environ.get("PATH") or os.defpath


def make_directories(directory: Path) -> None:
    """Make the directories that are ``/tmp`` and ``/dev/shm`` in the jail of a sandbox.

    Commands see them only under these names, so they cannot replace one by a link.

    Args:
        directory: The sandbox's directory.
    """
    for name, host_path in _SHARED.items():
        path = directory / name
        path.mkdir(mode=0o700)
        path.chmod(0o1777)
        if directory.is_relative_to(host_path):
            # It is a mount point while a command runs, so no command can move it.
            (path / _first_part(directory, host_path)).mkdir()


def arguments(
    directory: Path,
    variables: Mapping[str, str],
    hidden: Iterable[Path] = (),
    passed: Mapping[str, str] | None = None,
) -> list[str]:
    """Return bubblewrap's arguments: its mounts, and the whole environment of the command.

    The command sees the machine's system, the tools on ``PATH`` and the sandbox's own directories,
    which alone are writable. It has the worker's network.

    Args:
        directory: The sandbox's directory, after :func:`make_directories`.
        variables: The command's environment.
        hidden: Paths that the command does not see, wherever they are.
        passed: Variables of the worker that the command gets; it sees the paths that they name.
    """
    environment_options = [part for pair in variables.items() for part in ("--setenv", *pair)]
    mount_options = _mounts(directory, hidden, passed or {})
    return [*(_user_namespace_options() or ()), *mount_options, *environment_options]


def _mounts(
    directory: Path, hidden: Iterable[Path] = (), passed: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    binds = readable_paths.mounts(search_path(passed), tuple(passed.values()))
    mounts = [part for option in binds for part in option]
    # A process of root could write kernel settings there: ``core_pattern`` is a way out.
    mounts += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev"]
    read_only = [Path("/dev"), Path("/")]
    visible = [path_in_jail for kind, _, path_in_jail in binds if kind == "--ro-bind"]
    for path in readable_paths.covers((*hidden, *readable_paths.private_system_files()), visible):
        if path.is_dir():
            mounts += ["--tmpfs", str(path)]
            read_only.append(path)
        else:
            mounts += ["--ro-bind", os.devnull, str(path)]
    around = directory
    for name, path in _SHARED.items():
        mounts += ["--bind", str(directory / name), str(path)]
        if directory.is_relative_to(path):
            around = path / _first_part(directory, path)
    mounts += ["--tmpfs", str(around)]
    for name in OWN_DIRECTORIES:
        mounts += ["--bind", str(directory / name), str(directory / name)]
    for path in (around, *read_only):
        mounts += ["--remount-ro", str(path)]
    return [*_OPTIONS, *mounts]


def command(descriptor: int, info_descriptor: int | None = None) -> tuple[str, ...]:
    """Return the argument list that starts bubblewrap; the command follows it.

    Args:
        descriptor: A file that holds the :func:`arguments`.
        info_descriptor: Where bubblewrap writes the id of the jail's first process, as JSON.
    """
    info_options = () if info_descriptor is None else ("--info-fd", str(info_descriptor))
    return (program(), "--args", str(descriptor), *info_options, "--")


class FirstProcess:
    """The first process in a jail: when it ends, the kernel ends every other process there.

    Attributes:
        writer: The descriptor to which bubblewrap writes the process id.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        os.close(self.writer)

    async def end(self, timeout_s: float) -> bool:
        """Kill the process and wait until it has ended; call this after bubblewrap has ended.

        The process normally ends with bubblewrap, but a command can trace it and prevent that.

        Returns:
            Whether it ended within ``timeout_s`` seconds.
        """
        try:
            pid = json.loads(os.read(self._reader, _INFO_BYTES))["child-pid"]
            process = os.pidfd_open(pid)
        except (OSError, ValueError):  # it was never started, or has already ended
            return True
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        with suppress(OSError):
            if _is_first_process(pid):  # the process id may belong to another process now
                signal.pidfd_send_signal(process, signal.SIGKILL)
        loop.add_reader(process, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), timeout_s)
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(process)
            os.close(process)
        return True


def _is_first_process(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (pids,) = (line.split()[1:] for line in status if line.startswith("NSpid:"))
    return len(pids) > 1 and pids[-1] == "1"


def works() -> bool:
    """Return whether bubblewrap is installed and may make its namespaces."""
    return _user_namespace_options() is not None


@functools.cache
def _user_namespace_options() -> tuple[str, ...] | None:
    return next((options for options in _USER_NAMESPACES if program() and _probe(options)), None)


def _probe(options: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory(prefix="revalid-") as temporary:
        directory = Path(os.path.realpath(temporary))
        for name in OWN_DIRECTORIES:
            (directory / name).mkdir()
        make_directories(directory)
        words = [*options, *_mounts(directory), "--setenv", "WORKS", "yes"]
        with argument_file(words) as descriptor:
            try:
                process = subprocess.run(
                    [*command(descriptor), "/bin/sh", "-c", _PROBE_COMMAND],
                    env={},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    pass_fds=[descriptor],
                    timeout=_PROBE_TIMEOUT_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired):
                return False
        return process.returncode == 0


def _first_part(directory: Path, path: Path) -> str:
    return directory.relative_to(path).parts[0]
