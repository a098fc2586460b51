"""What an install can see of a project."""

import re

from revalid.worker.strategies.node.packages import HOOKS, Package, leaves
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.project_tree import MAX_BYTES, ProjectTree

_SEEN = frozenset(
    {
        "package.json",
        "package-lock.json",
        "npm-shrinkwrap.json",
        "bun.lock",
        "bun.lockb",
        "bunfig.toml",
        "pnpm-lock.yaml",
        "pnpm-workspace.yaml",
        "yarn.lock",
        ".npmrc",
        ".yarnrc",
        ".yarnrc.yml",
    }
)
_SEEN_DIRECTORIES = frozenset({".yarn", "patches"})
_RUNS_CODE = frozenset({"binding.gyp", ".pnpmfile.cjs"})
_READS_PROJECT = frozenset({"@prisma/client", "msw", "puppeteer"})
"""Dependencies whose own install script reads or writes project files."""

_OFFERS = frozenset({"exports", "types", "typings", "main", "module", "browser", "bin"})

_LINKED = re.compile(r"(?:file|link|portal):|injectWorkspacePackages")
_LOCAL = re.compile(
    r"(?:file|link|portal|exec):|\.{1,2}(?:/|\Z)|~?/|(?!https?:).*\.(?:tgz|tar\.gz)\Z"
)


def install_inputs(tree: ProjectTree, groups: tuple[Group, ...]) -> tuple[str, ...] | None:
    """The files that decide what an install does; None where any file may.

    Raises:
        InvalidProject: A file that decides cannot be read.
    """
    packages = [package for group in groups for package in group.packages]
    members = [member for group in groups for member in group.members]
    workspace_files = [group.root.path("pnpm-workspace.yaml") for group in groups]
    if (
        tree.has_node_modules
        or any(_LINKED.search(tree.head(path, MAX_BYTES)) for path in workspace_files)
        or any(_sees_project(package) for package in packages)
        or any("bin" in member.data or "directories" in member.data for member in members)
        or any(path.rpartition("/")[2] in _RUNS_CODE for path in tree.files)
    ):
        return None
    seen = tuple(sorted(path for path in tree.files if _is_seen(path)))
    return seen if all(path.isprintable() for path in seen) else None


def _sees_project(package: Package) -> bool:
    overrides = (package.data.get(field) for field in ("overrides", "resolutions", "pnpm"))
    # Generators write a dependency of the project on itself. Where it offers nothing to import, it
    # does not matter that bun links only those of its files that the install sees.
    own = None if _OFFERS & package.data.keys() else package.name
    versions = (
        *(v for name, v in package.dependencies.items() if (name, v) != (own, ".")),
        *(v for o in overrides for v in leaves(o)),
    )
    return (
        bool(HOOKS & package.scripts.keys())
        or bool(_READS_PROJECT & package.dependencies.keys())
        or "dependenciesMeta" in package.data
        or any(_LOCAL.match(version) for version in versions)
    )


def _is_seen(path: str) -> bool:
    *parents, name = path.split("/")
    return name in _SEEN or name.endswith(".patch") or not _SEEN_DIRECTORIES.isdisjoint(parents)
