"""Finds the tools that a failed step called and its sandbox lacks."""

import re
import shlex
from collections.abc import Collection

from revalid.jobs.result import StepResult
from revalid.worker.sandboxes.protocol import Sandbox, StepFailed

SYSTEM_TOOLS = frozenset(
    {
        *("bash", "c++", "cc", "cmake", "curl", "g++", "gcc", "git", "jq", "make", "openssl"),
        *("perl", "pkg-config", "python", "python3", "rsync", "ssh", "unzip", "wget", "zip"),
    }
)
"""Tools of the image: no package manager of a project installs them."""
FULL_IMAGE_HINT = "name one that has it with --image, such as node:20-bookworm"
ADD_TOOL_HINT = (
    "name an image that has it with --image, such as node:20-bookworm, or install it on the worker"
)
_LINES, _LINE = 2_000, 400
_TIMEOUT_S = 30.0
_TOOL = r"([a-z][\w+-]{0,30}?)"
_NOT_FOUND = re.compile(
    rf"(?:^|[ :'\"`/]){_TOOL}['\"`]?: (?:command )?not found"
    rf"|spawn {_TOOL} ENOENT|syscall spawn {_TOOL}\s*$"
    rf"|env: (?:can't execute )?['\u2018]?{_TOOL}['\u2019]?:? No such file"
    rf"|No such file or directory: ['\"]{_TOOL}['\"]|Cannot find command '{_TOOL}'"
    rf"|exec: \"{_TOOL}\": executable file not found|not found: {_TOOL}(?=\s|$)"
)


def last_lines(result: StepResult) -> list[str]:
    """Return the last lines that a step printed, each cut."""
    lines = [*result.stderr.splitlines()[-_LINES:], *result.stdout.splitlines()[-_LINES:]]
    return [line[:_LINE] for line in lines]


def tools_not_found(result: StepResult) -> list[str]:
    """Return the names that the output of a step calls not found, each once."""
    found: dict[str, None] = {}
    for line in last_lines(result):
        for match in _NOT_FOUND.finditer(line):
            found[next(filter(None, match.groups()))] = None
    return list(found)


async def missing_tool(
    result: StepResult, strategy_tools: Collection[str], sandbox: Sandbox
) -> str | None:
    """Return the first tool that a failed step calls not found and that the sandbox lacks.

    A project may print anything, so the sandbox is asked.

    Args:
        strategy_tools: The tools that the plan's own commands call.
    """
    known = SYSTEM_TOOLS | {*strategy_tools}
    named = [tool for tool in tools_not_found(result) if tool in known]
    for tool in named[:3]:
        try:
            command = f"command -v {shlex.quote(tool)}"
            if (await sandbox.exec(command, timeout_s=_TIMEOUT_S)).exit_code != 0:
                return tool
        except StepFailed:  # the project broke its workdir
            return None
    return None
