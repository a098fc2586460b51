"""The ``trpc`` strategy: a tRPC app, usually ``client/`` and ``server/``."""

import re

from jobs.errors import InvalidProject
from jobs.job import StrategyName
from worker.strategies.node import node_plan
from worker.strategies.npm import layout
from worker.strategies.planned import Plan
from worker.strategies.tree import Tree
from worker.strategies.workspaces import Group

_TRPC = re.compile(r"@trpc/[a-z0-9._-]{1,60}\Z")


def seen(groups: tuple[Group, ...]) -> list[str]:
    """What depends on tRPC, in words; empty where nothing does."""
    return [
        f"{package.manifest} depends on {name}"
        for group in groups
        for package in group.packages
        for name in sorted(package.dependencies)
        if _TRPC.match(name)
    ]


def plan(tree: Tree, groups: tuple[Group, ...]) -> Plan:
    """Install, build, check types with the compiler, and test.

    Raises:
        InvalidProject: There is no package, or a file that decides cannot be read.
    """
    if not groups:
        raise InvalidProject(
            "strategy trpc needs a package.json at the root, in client/ or in server/: "
            "add one, or give the commands with --command"
        )
    found = seen(groups) or ["nothing depends on @trpc"]
    server = next((words for words in found if words.endswith("@trpc/server")), found[0])
    return node_plan(StrategyName.TRPC, tree, groups, "; ".join([server, *layout(groups)]))
