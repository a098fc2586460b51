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
    """Describe the packages that depend on tRPC; empty if none does."""
    return [
        f"{package.manifest} depends on {name}"
        for group in groups
        for package in group.packages
        for name in sorted(package.dependencies)
        if _TRPC.match(name)
    ]


def plan(tree: ProjectTree, groups: tuple[Group, ...]) -> Plan:
    """Plan the install, the builds, the type checks with the compiler, and the tests.

    Raises:
        InvalidProject: There is no package, or a manifest or lockfile cannot be read.
    """
    if not groups:
        raise InvalidProject(
            "strategy trpc needs a package.json at the root, in client/ or in server/: "
            "add one, or give the commands with --command"
        )
    dependencies = detect(groups) or ["nothing depends on @trpc"]
    server = next(
        (words for words in dependencies if words.endswith("@trpc/server")), dependencies[0]
    )
    return node_plan(StrategyName.TRPC, tree, groups, "; ".join([server, *layout(groups)]))
