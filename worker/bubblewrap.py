"""Bubblewrap around the local sandbox's commands, where this machine has it and lets it work."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

_PROBE_TIMEOUT_S = 10.0


def jail(directory: Path, hidden: Iterable[Path] = ()) -> tuple[str, ...]:
    """What a command is started by: its own processes and ``/tmp``, all else read-only.

    The worker's files stay readable but for ``hidden``, ``/run`` and what starts with a dot in the
    worker's home, unless a directory of ``PATH`` is in it. The network is the worker's.

    Args:
        directory: The sandbox's own, which alone is writable.
    """
    (directory / "shm").mkdir(mode=0o700, exist_ok=True)
    (directory / "slash-tmp").mkdir(mode=0o1777, exist_ok=True)
    mounts: list[str] = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    mounts += ["--bind", f"{directory}/shm", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    mounts += ["--bind", f"{directory}/slash-tmp", "/tmp"]  # noqa: S108
    for path in _covered(directory, (*hidden, Path("/run"), *_dotted(Path.home()))):
        if path.is_dir():
            mounts += ["--tmpfs", str(path), "--remount-ro", str(path)]
        else:
            mounts += ["--ro-bind", os.devnull, str(path)]
    names = Path("/etc/resolv.conf").resolve()
    if names.is_file() and names.is_relative_to("/run"):
        mounts += ["--ro-bind", str(names), str(names)]
    options = ("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL")
    return ("bwrap", *options, *mounts, "--bind", str(directory), str(directory), "--")


@functools.cache
def works() -> bool:
    """Whether bubblewrap is here and may make its namespaces; asked once in a process."""
    if shutil.which("bwrap") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="revalid-") as directory:
        try:
            done = subprocess.run(
                [*jail(Path(directory)), "sh", "-c", ": >/tmp/written && test $$ -lt 10"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def _covered(directory: Path, paths: Iterable[Path]) -> list[Path]:
    """Those that exist, outside ``/tmp`` that is replaced anyway, and not around the sandbox.

    What is in another of them is covered with it: nothing can be mounted there any more.
    """
    real = {
        path
        for path in {path.resolve() for path in paths if path.exists()}
        if not path.is_relative_to("/tmp")  # noqa: S108
        and not directory.is_relative_to(path)
        and not path.is_relative_to("/dev")
        and not path.is_relative_to("/proc")
    }
    return sorted(path for path in real if real.isdisjoint(path.parents))


@functools.cache
def _dotted(home: Path) -> tuple[Path, ...]:
    """What starts with a dot in a home, but for what holds a tool of ``PATH``."""
    needed = {Path(os.path.realpath(part)) for part in os.get_exec_path()}
    needed |= {Path(os.path.realpath(tool)) for part in needed for tool in _links(part)}
    return tuple(
        path
        for path in home.glob(".*")
        if not any(each.is_relative_to(path.resolve()) for each in needed)
    )


def _links(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_symlink()]
    except OSError:
        return []
