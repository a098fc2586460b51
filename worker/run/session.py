"""Carries the state of one Bash session from each command of a job to the next.

Each command still runs in a process of its own, with its own exit code, time limit and output. A
file in the home directory holds what it left: directory, variables, functions, shell options.
"""

import shlex
from importlib.resources import files

from revalid.jobs.errors import ToolMissing
from revalid.jobs.steps import SetEnv, SetWorkdir, Step
from revalid.worker.run.missing_tools import ADD_TOOL_HINT
from revalid.worker.sandboxes.protocol import Sandbox

_SCRIPT = files("revalid.worker.run").joinpath("session.sh").read_text()


class Session:
    """One session; file steps and ``set_workdir`` keep their own workdir."""

    def __init__(self) -> None:
        self._set_since: list[str] = []
        self._moved_since = False

    def see(self, step: Step) -> None:
        """Let a step that changes variables or the workdir count for the next command."""
        if isinstance(step, SetEnv):
            self._set_since.append(step.name)
        self._moved_since |= isinstance(step, SetWorkdir)

    def command(self, text: str) -> str:
        """Return the line of ``sh`` that runs a command in the session."""
        stay = "0" if self._moved_since else "1"
        words = ["bash", "-c", _SCRIPT, "bash", " ".join(self._set_since), text, stay]
        self._set_since, self._moved_since = [], False
        return f"exec {shlex.join(words)}"


async def check_bash(sandbox: Sandbox) -> None:
    """Check that a session can run.

    Raises:
        ToolMissing: The sandbox has no Bash.
    """
    if (await sandbox.exec("command -v bash >/dev/null")).exit_code != 0:
        raise ToolMissing(f"the sandbox has no bash, which a session needs: {ADD_TOOL_HINT}")
