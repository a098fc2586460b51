"""Clones a project from a Git URL: one commit, without hooks, prompts or remote helpers."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from revalid.jobs.errors import InvalidProject

CLONE_TIMEOUT_S = 300.0
_TICK_S = 0.1
_PLAIN = ("--depth", "1", "--template=", "--no-recurse-submodules")


class Stopped(Exception):
    """The caller stopped the clone."""


@contextmanager
def checkout(url: str, stop: Event | None = None) -> Iterator[Path]:
    """Clone ``url``, or its ``#branch``; yield the directory and delete it afterwards.

    Args:
        stop: Ends a running clone when it is set.

    Raises:
        InvalidProject: Git is not installed, or could not clone.
        Stopped: ``stop`` was set.
    """
    remote, _, ref = url.partition("#")
    branch = ["--branch", ref] if ref else []
    safe = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]
    with tempfile.TemporaryDirectory(prefix="revalid-clone-") as directory:
        into = Path(directory) / "project"
        command = ["git", *safe, "clone", "--quiet", *_PLAIN, *branch, "--", remote]
        try:
            code, stderr_text = _run([*command, str(into)], stop or Event())
        except FileNotFoundError:
            raise InvalidProject(f"{url}: git is not installed here") from None
        except ValueError:
            raise InvalidProject(f"{url!r}: a URL must not contain a NUL") from None
        except subprocess.TimeoutExpired:
            raise InvalidProject(f"{url}: not cloned within {CLONE_TIMEOUT_S:g} s") from None
        if code:
            raise InvalidProject(f"{url}: git clone failed: {_reason(stderr_text)}")
        yield into


def _run(command: Sequence[str], stop: Event) -> tuple[int, str]:
    """Run a command; return its exit status and error output. Its helpers end with it."""
    silent = {
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # any other protocol runs a program
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "LC_ALL": "C",
    }
    deadline = time.monotonic() + CLONE_TIMEOUT_S
    with subprocess.Popen(
        command,
        env={**os.environ, **silent},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            while True:
                try:
                    _, stderr_text = process.communicate(timeout=_TICK_S)
                    return process.returncode, stderr_text
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
