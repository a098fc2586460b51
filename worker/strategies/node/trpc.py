"""The ``trpc`` strategy: a tRPC app, usually ``client/`` and ``server/``."""

import re

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.node.checks import node_plan
from revalid.worker.strategies.node.npm import layout
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.plan import Plan
from revalid.worker.strategies.project_tree import ProjectTree

_TRPC = re.compile(r"@trpc/[a-z0-9._-]{1,60}\Z")


def detect(groups: tuple[Group, ...]) -> list[str]:
    """What depends on tRPC, in words; empty where nothing does."""
    return [
        f"{package.manifest} depends on {name}"
        for group in groups
        for package in group.packages
        for name in sorted(package.dependencies)
        if _TRPC.match(name)
    ]


def plan(tree: ProjectTree, groups: tuple[Group, ...]) -> Plan:
    """Install, build, check types with the compiler, and test.

    Raises:
        InvalidProject: There is no package, or a file that decides cannot be read.
    """
    if not groups:
        raise InvalidProject(
            "strategy trpc needs a package.json at the root, in client/ or in server/: "
            "add one, or give the commands with --command"
        )
    found = detect(groups) or ["nothing depends on @trpc"]
    server = next((words for words in found if words.endswith("@trpc/server")), found[0])
    return node_plan(StrategyName.TRPC, tree, groups, "; ".join([server, *layout(groups)]))
