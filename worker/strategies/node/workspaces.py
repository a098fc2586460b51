"""Finds the packages of a project, grouped by the install that serves them."""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from revalid.jobs.errors import InvalidProject
from revalid.jobs.globs import TooMuchWork, Work, directory_glob, weight
from revalid.worker.strategies.node.packages import Package, read_package
from revalid.worker.strategies.project_tree import ProjectTree

SEPARATE = ("client", "server")
"""Directories that may be separate packages, with or without a root package."""

MAX_WORKSPACES = 256


@dataclass(frozen=True, slots=True)
class Group:
    """Packages that one install serves."""

    root: Package
    members: tuple[Package, ...] = ()

    @property
    def packages(self) -> tuple[Package, ...]:
        """The root, then its workspaces by directory."""
        return (self.root, *self.members)


def find_groups(tree: ProjectTree) -> tuple[Group, ...]:
    """Return the groups of a project, the root's first; empty if it has no package.

    Raises:
        InvalidProject: A manifest does not parse, or there are too many workspaces.
    """
    groups: list[Group] = []
    for directory in (".", *SEPARATE):
        grouped = {package.directory for group in groups for package in group.packages}
        package = None if directory in grouped else read_package(tree, directory)
        if package is not None:
            groups.append(_group(tree, package))
    return tuple(groups)


def _group(tree: ProjectTree, root: Package) -> Group:
    globs = (*root.workspaces, *pnpm_globs(tree.text(root.path("pnpm-workspace.yaml")) or ""))
    if len(globs) > MAX_WORKSPACES:
        raise InvalidProject(
            f"{root.manifest} has more than {MAX_WORKSPACES} workspace patterns: use fewer"
        )
    included = _patterns(root, (glob for glob in globs if not glob.startswith("!")))
    excluded = _patterns(root, (glob[1:] for glob in globs if glob.startswith("!")))
    below = _below(tree, root.directory)
    _check_work(root, globs, below)
    directories = sorted(
        directory
        for directory in below
        if any(pattern.match(directory) for pattern in included)
        and not any(pattern.match(directory) for pattern in excluded)
    )
    if len(directories) > MAX_WORKSPACES:
        raise InvalidProject(
            f"{root.manifest} has {len(directories)} workspaces, more than {MAX_WORKSPACES}: "
            "validate its parts as separate jobs"
        )
    members = (read_package(tree, root.path(directory)) for directory in directories)
    return Group(root, tuple(member for member in members if member is not None))


def _below(tree: ProjectTree, root: str) -> list[str]:
    prefix = "" if root == "." else f"{root}/"
    manifests = (f for f in tree.files if f.startswith(prefix) and f.endswith("/package.json"))
    parents = (posixpath.dirname(manifest.removeprefix(prefix)) for manifest in manifests)
    return [parent for parent in parents if parent]


def _patterns(root: Package, globs: Iterable[str]) -> list[re.Pattern[str]]:
    try:
        return [directory_glob(glob) for glob in globs]
    except ValueError as error:
        raise InvalidProject(f"{root.manifest}: the workspace pattern {error}") from None


def _check_work(root: Package, globs: Iterable[str], directories: Iterable[str]) -> None:
    work, weights = Work(), sum(map(weight, globs))
    try:
        for directory in directories:
            work.compare(directory, weights)
    except TooMuchWork as error:
        raise InvalidProject(f"{root.manifest}: its workspace patterns are {error}") from None


def pnpm_globs(text: str) -> list[str]:
    """Return the ``packages`` of a ``pnpm-workspace.yaml``, read without a YAML parser."""
    globs: list[str] = []
    inside = False
    for line in text.splitlines():
        content = line.split(" #")[0].strip()
        if content.startswith("packages:"):
            inside = True
            inline = content.removeprefix("packages:").strip(" []").split(",")
            globs += [glob for item in inline if (glob := item.strip(" '\""))]
        elif inside and content.startswith("-"):
            globs.append(content[1:].strip(" '\""))
        elif content and not content.startswith("#"):
            inside = False
    return globs
