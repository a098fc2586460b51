"""The ``trpc`` strategy: a tRPC app, usually ``client/`` and ``server/``."""

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.node import npm
from revalid.worker.strategies.node.checks import node_plan
from revalid.worker.strategies.node.workspaces import find_groups
from revalid.worker.strategies.plan import Plan
from revalid.worker.strategies.project_tree import ProjectTree

manifests = npm.manifests


def fits(tree: ProjectTree) -> bool:
    """Return whether a package depends on tRPC."""
    return bool(npm.trpc_dependencies(find_groups(tree)))


def plan(tree: ProjectTree) -> Plan:
    """Plan the install, the builds, the type checks with the compiler, and the tests.

    Raises:
        InvalidProject: There is no package, or a manifest or lockfile cannot be read.
    """
    groups = find_groups(tree)
    if not groups:
        raise InvalidProject(
            "strategy trpc needs a package.json at the root, in client/ or in server/: "
            "add one, or give the commands with --command"
        )
    dependencies = npm.trpc_dependencies(groups) or ["nothing depends on @trpc"]
    server = next(
        (words for words in dependencies if words.endswith("@trpc/server")), dependencies[0]
    )
    return node_plan(StrategyName.TRPC, tree, groups, "; ".join([server, *npm.layout(groups)]))
