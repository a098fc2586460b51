"""Which version of each tool a sandbox has."""

import shlex
from collections.abc import Iterable

from revalid.worker.run.output import to_text
from revalid.worker.sandboxes.protocol import Sandbox, StepFailed
from revalid.worker.secrets import Scrubber

_TIMEOUT_S = 30.0
_SHOWN = 100


async def tool_versions(
    sandbox: Sandbox, tools: Iterable[str], scrubber: Scrubber
) -> dict[str, str]:
    """What each tool answers to ``--version``, or ``not found``."""
    script = "; ".join(
        f"echo {shlex.quote(tool)} $({shlex.quote(tool)} --version 2>/dev/null | head -n 1)"
        for tool in tools
    )
    try:
        found = await sandbox.exec(script, timeout_s=_TIMEOUT_S, cacheable=True)
    except StepFailed:  # the project broke its own workdir, and its steps say so
        return {}
    versions = {}
    for line in to_text(found.stdout, scrubber).splitlines():
        tool, _, version = line.partition(" ")
        versions[tool] = version.strip().removeprefix("Python ")[:_SHOWN] or "not found"
    return versions
