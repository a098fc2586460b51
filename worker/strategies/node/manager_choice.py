"""Chooses the package manager of a group of packages, and its version."""

import re
from dataclasses import dataclass

from revalid.worker.strategies.node.managers import (
    BERRY,
    BERRY_VERSIONS,
    BUN,
    BUN_VERSION,
    LOCKFILES,
    NPM,
    PNPM,
    PNPM_VERSIONS,
    YARN,
    YARN_VERSION,
    Manager,
)
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.project_tree import ProjectTree

_HINTS = {"pnpm-workspace.yaml": "pnpm", ".yarnrc.yml": "yarn"}
"""Files that only one package manager reads, for a project without a lockfile."""

_PACKAGE_MANAGER = re.compile(
    r"(npm|bun|pnpm|yarn)@([0-9]{1,4})((?:\.[0-9]{1,6}){2}(?:-[0-9A-Za-z.-]{1,40})?)?(?:\+.*)?\Z"
)
_BUN = re.compile(r"(?:^|[\s;&|(])bunx?(?=\s|$)")
_TEST_FILE = re.compile(r"[._](?:test|spec)\.[cm]?[jt]sx?\Z")


@dataclass(frozen=True, slots=True)
class PackageManagerChoice:
    """The package manager of a group.

    Attributes:
        locked: Whether a lockfile decides what is installed.
        version: The version to install if the image has none.
        note: A sentence about the choice for the reader of the result; may be empty.
    """

    manager: Manager
    locked: bool
    version: str = ""
    note: str = ""


def detect_manager(tree: ProjectTree, group: Group) -> PackageManagerChoice:
    """Find a group's manager by its lockfile, else its ``packageManager``, else its scripts.

    Raises:
        InvalidProject: A manifest or lockfile cannot be read.
    """
    field = _package_manager_field(group.root)
    lockfiles = [name for name in LOCKFILES if group.root.path(name) in tree.files]
    managers = list(dict.fromkeys(LOCKFILES[name].command for name in lockfiles))
    name, reason = _preferred(tree, group, field, managers)
    note = _note(group.root, name, reason, lockfiles)
    manager = {"npm": NPM, "bun": BUN, "pnpm": PNPM, "yarn": YARN}[name]
    if manager is YARN and _is_berry(tree, group.root, field, locked=bool(lockfiles)):
        manager = BERRY
    return PackageManagerChoice(
        manager, bool(lockfiles), _version(tree, group.root, manager, field), note
    )


def _preferred(
    tree: ProjectTree, group: Group, field: re.Match[str] | None, managers: list[str]
) -> tuple[str, str]:
    """Return a manager's name, and the reason if a note should give it."""
    if len(managers) == 1:
        if field and field[1] != managers[0]:
            return managers[0], f"although packageManager names {field[1]}"
        return managers[0], ""
    if field and (field[1] in managers or not managers):
        return field[1], "since packageManager names it"
    if (not managers or "bun" in managers) and uses_bun(tree, group):
        return "bun", "since its scripts or tests use bun"
    if not managers:
        hints = (hint for hint in _HINTS if group.root.path(hint) in tree.files)
        hint = next(hints, None)
        return (_HINTS[hint], f"since it has {hint}") if hint else ("npm", "")
    return "npm" if "npm" in managers else managers[0], "since nothing names another"


def _note(root: Package, name: str, reason: str, lockfiles: list[str]) -> str:
    if lockfiles:
        return f"{root.title} has {', '.join(lockfiles)}: used {name}, {reason}" if reason else ""
    action = f"ran {name} install" + (f", {reason}" if reason else "")
    return f"no lockfile in {root.title}: {action}; versions may differ between runs"


def uses_bun(tree: ProjectTree, group: Group) -> bool:
    """Return whether a group's scripts call bun or its tests import ``bun:test``."""
    if any(_BUN.search(script) for p in group.packages for script in p.scripts.values()):
        return True
    prefix = group.root.path("")
    tests = (f for f in sorted(tree.files) if f.startswith(prefix) and _TEST_FILE.search(f))
    return any("bun:test" in tree.head(test) for test in tests)


def _package_manager_field(package: Package) -> re.Match[str] | None:
    value = package.data.get("packageManager")
    return _PACKAGE_MANAGER.match(value) if isinstance(value, str) else None


def _is_berry(
    tree: ProjectTree, root: Package, field: re.Match[str] | None, *, locked: bool
) -> bool:
    if locked:
        return "__metadata:" in tree.head(root.path("yarn.lock"))
    if field:
        return field[2] != "1"
    return root.path(".yarnrc.yml") in tree.files


def _version(
    tree: ProjectTree, root: Package, manager: Manager, field: re.Match[str] | None
) -> str:
    if field and field[1] == manager.command and field[3]:
        classic = field[2] == "1"
        if manager not in (YARN, BERRY) or classic == (manager is YARN):
            return field[2] + field[3]
    if manager is PNPM:
        return PNPM_VERSIONS[_pnpm_major(tree, root)]
    if manager is BERRY:
        lock = re.search(r"^  version: (\d+)", tree.head(root.path("yarn.lock")), re.MULTILINE)
        return BERRY_VERSIONS["3" if lock and int(lock[1]) < 7 else "4"]
    return {"bun": BUN_VERSION, "yarn": YARN_VERSION}.get(manager.command, "")


def _pnpm_major(tree: ProjectTree, root: Package) -> str:
    lock = re.search(r"^lockfileVersion: *['\"]?(\d)", tree.head(root.path("pnpm-lock.yaml")), re.M)
    if lock and lock[1] in "56":
        return "7" if lock[1] == "5" else "8"
    # pnpm 9 reads no settings from the workspace file, and 10 alone refuses build scripts.
    keys = re.findall(r"^([A-Za-z]+):", tree.head(root.path("pnpm-workspace.yaml"), 1 << 16), re.M)
    return "10" if not lock or set(keys) - {"packages", "catalog", "catalogs"} else "9"
