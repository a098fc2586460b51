"""The ``npm`` strategy: the scripts of any ``package.json``, by whichever package manager."""

import re

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.node.checks import node_plan
from revalid.worker.strategies.node.workspaces import Group, find_groups
from revalid.worker.strategies.plan import Plan
from revalid.worker.strategies.project_tree import ProjectTree

_TRPC = re.compile(r"@trpc/[a-z0-9._-]{1,60}\Z")
manifests = ("package.json",)


def fits(tree: ProjectTree) -> bool:
    """Return whether the project has packages, and none depends on tRPC."""
    groups = find_groups(tree)
    return bool(groups) and not trpc_dependencies(groups)


def plan(tree: ProjectTree) -> Plan:
    """Plan the install and the build, type check, lint and test scripts that the project has.

    Raises:
        InvalidProject: There is no package, or a manifest or lockfile cannot be read.
    """
    groups = find_groups(tree)
    if not groups:
        raise InvalidProject(
            "strategy npm needs a package.json at the root, in client/ or in server/: "
            "add one, or give the commands with --command"
        )
    reason = "; ".join([groups[0].root.manifest, *layout(groups)])
    return node_plan(StrategyName.NPM, tree, groups, reason, lint=True)


def trpc_dependencies(groups: tuple[Group, ...]) -> list[str]:
    """Describe the packages that depend on tRPC; empty if none does."""
    return [
        f"{package.manifest} depends on {name}"
        for group in groups
        for package in group.packages
        for name in sorted(package.dependencies)
        if _TRPC.match(name)
    ]


def layout(groups: tuple[Group, ...]) -> list[str]:
    """Describe the packages of a project; empty if there is only one."""
    parts = []
    if len(groups) > 1:
        parts.append(f"installed separately: {', '.join(group.root.title for group in groups)}")
    if members := [member.directory for group in groups for member in group.members]:
        more = f" and {len(members) - 6} more" if len(members) > 6 else ""
        parts.append(f"workspaces {', '.join(members[:6])}{more}")
    return parts
