"""Finds the versions of a sandbox's tools."""

import shlex
from collections.abc import Iterable

from revalid.worker.run.output import to_text
from revalid.worker.sandboxes.protocol import Sandbox, StepFailed
from revalid.worker.secrets import Scrubber

_TIMEOUT_S = 30.0
_MAX_LENGTH = 100


async def tool_versions(
    sandbox: Sandbox, tools: Iterable[str], scrubber: Scrubber
) -> dict[str, str]:
    """Return, by tool, the first line that ``--version`` prints, or ``not found``."""
    script = "; ".join(
        f"echo {tool} $({{ {tool} --version || {tool} version; }} 2>/dev/null | grep -m 1 .)"
        for tool in map(shlex.quote, tools)
    )
    try:
        result = await sandbox.exec(script, timeout_s=_TIMEOUT_S, cacheable=True)
    except StepFailed:  # the project broke its workdir; its steps report that
        return {}
    versions = {}
    for line in to_text(result.stdout, scrubber).splitlines():
        tool, _, version = line.partition(" ")
        versions[tool] = version.strip().removeprefix("Python ")[:_MAX_LENGTH] or "not found"
    return versions
