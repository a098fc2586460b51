"""Finds the files of a project that decide what an install does."""

import re

from revalid.worker.strategies.node.packages import HOOKS, Package, leaves
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.project_tree import MAX_BYTES, ProjectTree

_INPUT_FILES = frozenset(
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
_INPUT_DIRECTORIES = frozenset({".yarn", "patches"})
_RUNS_CODE = frozenset({"binding.gyp", ".pnpmfile.cjs"})
_READS_PROJECT = frozenset({"@prisma/client", "msw", "puppeteer"})
"""Dependencies whose install script reads or writes project files."""

_ENTRY_FIELDS = frozenset({"exports", "types", "typings", "main", "module", "browser", "bin"})

_LINKED = re.compile(r"(?:file|link|portal):|injectWorkspacePackages")
_LOCAL = re.compile(
    r"(?:file|link|portal|exec):|\.{1,2}(?:/|\Z)|~?/|(?!https?:).*\.(?:tgz|tar\.gz)\Z"
)


def install_inputs(tree: ProjectTree, groups: tuple[Group, ...]) -> tuple[str, ...] | None:
    """Return the files that decide what an install does; None if any file may.

    Raises:
        InvalidProject: A manifest or lockfile cannot be read.
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
    inputs = tuple(sorted(path for path in tree.files if _is_input(path)))
    return inputs if all(path.isprintable() for path in inputs) else None


def _sees_project(package: Package) -> bool:
    overrides = (package.data.get(field) for field in ("overrides", "resolutions", "pnpm"))
    # Generators write a dependency of the project on itself. If the project offers nothing to
    # import, it does not matter that bun links only the files that the install sees.
    own_name = None if _ENTRY_FIELDS & package.data.keys() else package.name
    versions = (
        *(v for name, v in package.dependencies.items() if (name, v) != (own_name, ".")),
        *(v for o in overrides for v in leaves(o)),
    )
    return (
        bool(HOOKS & package.scripts.keys())
        or bool(_READS_PROJECT & package.dependencies.keys())
        or "dependenciesMeta" in package.data
        or any(_LOCAL.match(version) for version in versions)
    )


def _is_input(path: str) -> bool:
    *parents, name = path.split("/")
    return (
        name in _INPUT_FILES
        or name.endswith(".patch")
        or not _INPUT_DIRECTORIES.isdisjoint(parents)
    )
