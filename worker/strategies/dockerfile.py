"""The ``dockerfile`` strategy: the build of an image, where nothing else is known of a project."""

import re
from dataclasses import replace

from revalid.jobs.checks import CheckName
from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.plan import Plan, check, skipped
from revalid.worker.strategies.project_tree import ProjectTree

manifests = ("Dockerfile", "Containerfile")
_SYNTAX = re.compile(r"^#[ \t]*syntax[ \t]*=[ \t]*(\S{1,200})", re.IGNORECASE | re.MULTILINE)
_KNOWN_SYNTAX = re.compile(r"(?:docker\.io/)?docker/dockerfile(?::[\w.-]{1,60})?\Z")
_PRIVILEGED = re.compile(r"--(?:security|network)[= ]|--mount=\S{0,200}type=(?:ssh|secret)")


def fits(tree: ProjectTree) -> bool:
    """Return whether a ``Dockerfile`` is in the root."""
    return not tree.files.isdisjoint(manifests)


def plan(tree: ProjectTree) -> Plan:
    """Plan the build of the image.

    Raises:
        InvalidProject: There is no ``Dockerfile``.
    """
    if not fits(tree):
        raise InvalidProject("strategy dockerfile needs a Dockerfile at the root: add one")
    name = next(name for name in manifests if name in tree.files)
    command = f"docker build -f {name} ."
    if reason := _refused(tree.head(name, 1 << 18)):
        step = skipped(CheckName.BUILD, "image", command, reason, absent=False)
    else:
        step = check(CheckName.BUILD, "image", command, parallel=False)
        step = replace(step, dockerfile=name)
    note = "only the build of its image was checked"
    return Plan(StrategyName.DOCKERFILE, name, (step,), (), (note,))


def _refused(text: str) -> str:
    """Return why a ``Dockerfile`` is not built; empty if it is."""
    for syntax in _SYNTAX.findall(text):
        if not _KNOWN_SYNTAX.match(syntax):
            return f"its syntax {syntax} is a program of its own, which is not run"
    if match := _PRIVILEGED.search(text):
        return f"it asks for {match[0].rstrip('= ')}, which is not given"
    return ""
