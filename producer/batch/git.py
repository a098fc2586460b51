"""Clones a project from a Git URL, without hooks, prompts or remote helpers."""

import os
import posixpath
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from urllib.parse import SplitResult, urlsplit

from revalid.jobs.errors import InvalidProject
from revalid.jobs.projects.git_checkout import asks_for_git, tracked

CLONE_TIMEOUT_S = 300.0
MAX_SUBMODULES = 32
"""Submodules of a project that are fetched, those in others included."""
_TICK_S = 0.1
_SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
_PLAIN = ("--depth", "1", "--template=", "--no-recurse-submodules")
_SCHEMES = ("https", "http", "git")
_STRANGER = {"HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
"""A project names its submodules, so that none is fetched with this user's credentials."""


class Stopped(Exception):
    """The caller stopped the clone."""


@contextmanager
def checkout(url: str, stop: Event | None = None) -> Iterator[Path]:
    """Clone ``url``, or its ``#branch``; yield the directory and delete it afterwards.

    Its history is there where a file of it reads Git, as a version by tags does. A submodule is
    fetched where the same server gives it to anybody; else it stays empty.

    Args:
        stop: Ends a running clone when it is set.

    Raises:
        InvalidProject: Git is not installed, or could not clone.
        Stopped: ``stop`` was set.
    """
    remote, _, ref = url.partition("#")
    branch = ["--branch", ref] if ref else []
    ends, deadline = stop or Event(), time.monotonic() + CLONE_TIMEOUT_S
    with tempfile.TemporaryDirectory(prefix="revalid-clone-") as directory:
        into = Path(directory) / "project"
        command = ["git", *_SAFE, "clone", "--quiet", *_PLAIN, *branch, "--", remote]
        try:
            code, _, stderr_text = _run([*command, str(into)], ends, deadline)
        except FileNotFoundError:
            raise InvalidProject(f"{url}: git is not installed here") from None
        except ValueError:
            raise InvalidProject(f"{url!r}: a URL must not contain a NUL") from None
        except subprocess.TimeoutExpired:
            raise InvalidProject(f"{url}: not cloned within {CLONE_TIMEOUT_S:g} s") from None
        if code:
            raise InvalidProject(f"{url}: git clone failed: {_reason(stderr_text)}")
        with suppress(subprocess.TimeoutExpired, OSError):
            if any(asks_for_git(name, into / name) for name in tracked(into).files):
                _run(["git", *_SAFE, "-C", str(into), "fetch", "-q", "--unshallow"], ends, deadline)
            _fetch_submodules(remote, into, ends, deadline)
        yield into


def _fetch_submodules(remote: str, into: Path, stop: Event, deadline: float) -> None:
    """Fetch the submodules of a clone, and those in them."""
    pending, left = [(urlsplit(remote), into)], MAX_SUBMODULES
    while pending:
        origin, root = pending.pop()
        for path, commit, url in _submodules(origin, root, stop, deadline):
            if left == 0 or url.scheme not in _SCHEMES or url.netloc != _host(origin):
                continue
            left -= 1
            inside = ("git", *_SAFE, "-C", str(root / path))
            for arguments in (
                ("init", "--quiet", "--template="),
                ("fetch", "--quiet", "--depth", "1", "--", url.geturl(), commit),
                ("checkout", "--quiet", commit),
            ):
                if _run([*inside, *arguments], stop, deadline, **_STRANGER)[0]:
                    break
            else:
                pending.append((url, root / path))


def _submodules(
    origin: SplitResult, root: Path, stop: Event, deadline: float
) -> list[tuple[str, str, SplitResult]]:
    """Return path, commit and URL of the submodules in the index of a checkout."""
    if (root / ".gitmodules").is_symlink() or not (root / ".gitmodules").is_file():
        return []
    inside = ("git", *_SAFE, "-C", str(root))
    listed = _run([*inside, "ls-files", "-z", "--stage"], stop, deadline)[1]
    entries = (entry.partition("\t") for entry in listed.split("\0"))
    commits = {path: head.split()[1] for head, _, path in entries if head.startswith("160000 ")}
    lines = _run([*inside, "config", "-z", "-f", ".gitmodules", "--list"], stop, deadline)[1]
    settings = dict(line.partition("\n")[::2] for line in lines.split("\0"))
    found = []
    for key, path in settings.items():
        url = settings.get(f"{key.removesuffix('path')}url", "")
        if key.endswith(".path") and path in commits:
            found.append((path, commits[path], _resolved(url, origin)))
    return found


def _resolved(url: str, origin: SplitResult) -> SplitResult:
    """Return the URL of a submodule; a relative one starts at the URL of what names it."""
    if not url.startswith(("./", "../")):
        return urlsplit(url)
    path = posixpath.normpath(f"/{origin.path.strip('/')}/{url}")
    return SplitResult(origin.scheme, _host(origin), path, "", "")


def _host(url: SplitResult) -> str:
    return url.netloc.rpartition("@")[2]


def _run(
    command: Sequence[str], stop: Event, deadline: float, **variables: str
) -> tuple[int, str, str]:
    """Run a command; return its exit status and output. Its helpers end with it."""
    silent = {
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # any other protocol runs a program
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "LC_ALL": "C",
    }
    environ = {n: v for n, v in os.environ.items() if not (variables and n.startswith("GIT_"))}
    with subprocess.Popen(
        command,
        env={**environ, **silent, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            while True:
                try:
                    stdout_text, stderr_text = process.communicate(timeout=_TICK_S)
                    return process.returncode, stdout_text, stderr_text
                except subprocess.TimeoutExpired:
                    if stop.is_set():
                        raise Stopped from None
                    if time.monotonic() > deadline:
                        raise
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _reason(stderr_text: str) -> str:
    """Return the line with the reason; Git writes general advice after it."""
    lines = stderr_text.strip().splitlines() or ["it wrote nothing"]
    return next((line for line in lines if line.startswith("fatal:")), lines[-1])
