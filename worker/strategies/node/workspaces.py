"""Finds the packages of a project, grouped by the install that serves them."""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from revalid.jobs.errors import InvalidProject
from revalid.jobs.globs import TooMuchWork, Work, directory_glob, weight
from revalid.worker.strategies.node.packages import Package, read_package
from revalid.worker.strategies.parts import is_named_part, split_parts
from revalid.worker.strategies.project_tree import ProjectTree

MAX_WORKSPACES = 256
_MAX_MANIFESTS = 2_000
_MANIFEST_BYTES = 1 << 16


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

    A package outside the workspaces is a group of its own where it is a part of the project.

    Raises:
        InvalidProject: A manifest does not parse, or there are too many workspaces.
    """
    root = read_package(tree, ".")
    groups = [_group(tree, root)] if root else []
    left_out = _patterns(root, (g[1:] for g in _globs(tree, root) if g[0] == "!")) if root else []
    for directory in split_parts(_separate(tree), root_has_checks=False)[0]:
        grouped = {package.directory for group in groups for package in group.packages}
        known = directory in grouped or any(pattern.match(directory) for pattern in left_out)
        package = None if known else read_package(tree, directory)
        if package and (is_named_part(directory) or _has_checks(package) or not _has_checks(root)):
            groups.append(_group(tree, package))
    return tuple(groups)


def uncovered(tree: ProjectTree, groups: Iterable[Group]) -> list[str]:
    """Return the directories of packages that belong to no group.

    Raises:
        InvalidProject: A manifest does not parse.
    """
    grouped = {package.directory for group in groups for package in group.packages}
    return sorted(set(_separate(tree)) - grouped)


def _separate(tree: ProjectTree) -> list[str]:
    """Return the directories below the root with a manifest that holds scripts or dependencies."""
    manifests = sorted(path for path in tree.own_files if path.endswith("/package.json"))
    found = []
    for path in manifests[:_MAX_MANIFESTS]:
        head = tree.head(path, _MANIFEST_BYTES)
        directory = posixpath.dirname(path)
        if is_named_part(directory) or '"scripts"' in head or 'ependencies"' in head:
            found.append(directory)
    return found


def _has_checks(package: Package | None) -> bool:
    return package is not None and any(package.unusable(n) is None for n in ("build", "test"))


def _group(tree: ProjectTree, root: Package) -> Group:
    globs = _globs(tree, root)
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


def _globs(tree: ProjectTree, root: Package) -> tuple[str, ...]:
    pnpm = pnpm_globs(tree.text(root.path("pnpm-workspace.yaml")) or "")
    return tuple(glob for glob in (*root.workspaces, *pnpm) if glob)


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
