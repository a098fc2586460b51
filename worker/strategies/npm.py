"""The ``npm`` strategy: the scripts of any ``package.json``, by whichever package manager."""

from jobs.errors import InvalidProject
from jobs.job import StrategyName
from worker.strategies.node import node_plan
from worker.strategies.planned import Plan
from worker.strategies.tree import Tree
from worker.strategies.workspaces import Group

TYPE_SCRIPTS = ("typecheck", "type-check", "check-types", "tsc")


def plan(tree: Tree, groups: tuple[Group, ...]) -> Plan:
    """Install, and run the build, type check, lint and test scripts that there are.

    Raises:
        InvalidProject: There is no package, or a file that decides cannot be read.
    """
    if not groups:
        raise InvalidProject(
            "strategy npm needs a package.json at the root, in client/ or in server/: "
            "add one, or give the commands with --command"
        )
    return node_plan(
        StrategyName.NPM, tree, groups, layout(groups), type_scripts=TYPE_SCRIPTS, lint=True
    )


def layout(groups: tuple[Group, ...]) -> str:
    """The packages of a project, in words."""
    roots = [group.root.manifest for group in groups]
    members = [member.directory for group in groups for member in group.members]
    words = [f"packages {', '.join(roots)}" if len(roots) > 1 else roots[0]]
    if members:
        more = f" and {len(members) - 6} more" if len(members) > 6 else ""
        words.append(f"workspaces {', '.join(members[:6])}{more}")
    return "; ".join(words)
