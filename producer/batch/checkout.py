"""A project from its Git URL: one commit, without hooks, prompts or helpers that it names."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import InvalidProject

CLONE_TIMEOUT_S = 300.0


@contextmanager
def checkout(url: str) -> Iterator[Path]:
    """The files at ``url``, or at its ``#branch``, while inside.

    Raises:
        InvalidProject: Git is not there, or could not clone.
    """
    remote, _, ref = url.partition("#")
    branch = ["--branch", ref] if ref else []
    safe = ["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"]
    with tempfile.TemporaryDirectory(prefix="revalid-clone-") as directory:
        into = Path(directory) / "project"
        silent = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
        command = ["git", *safe, "clone", "--quiet", "--depth", "1", *branch, "--", remote]
        try:
            done = subprocess.run(
                [*command, str(into)],
                env={**os.environ, **silent},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=CLONE_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            raise InvalidProject(f"{url}: git is not installed here") from None
        except subprocess.TimeoutExpired:
            raise InvalidProject(f"{url}: not cloned within {CLONE_TIMEOUT_S:g} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            raise InvalidProject(f"{url}: git clone failed: {lines[-1]}")
        yield into
