"""Which package manager a group of packages uses, and in which version."""

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

_NAMED = re.compile(
    r"(npm|bun|pnpm|yarn)@([0-9]{1,4})((?:\.[0-9]{1,6}){2}(?:-[0-9A-Za-z.-]{1,40})?)?(?:\+.*)?\Z"
)
_BUN = re.compile(r"(?:^|[\s;&|(])bunx?(?=\s|$)")
_TEST_FILE = re.compile(r"[._](?:test|spec)\.[cm]?[jt]sx?\Z")


@dataclass(frozen=True, slots=True)
class PackageManagerChoice:
    """The package manager of a group.

    Attributes:
        locked: A lockfile decides what is installed.
        version: What to provide where the image has none.
        note: What a reader should know of the choice; empty where it is plain.
    """

    manager: Manager
    locked: bool
    version: str = ""
    note: str = ""


def detect_manager(tree: ProjectTree, group: Group) -> PackageManagerChoice:
    """The manager that a group's lockfile names, else its ``packageManager``, else its scripts.

    Raises:
        InvalidProject: A file that decides cannot be read.
    """
    named = _named(group.root)
    found = [name for name in LOCKFILES if group.root.path(name) in tree.files]
    managers = list(dict.fromkeys(LOCKFILES[name].command for name in found))
    name, why = _preferred(tree, group, named, managers)
    note = _note(group.root, name, why, found)
    manager = {"npm": NPM, "bun": BUN, "pnpm": PNPM, "yarn": YARN}[name]
    if manager is YARN and _is_berry(tree, group.root, named, locked=bool(found)):
        manager = BERRY
    return PackageManagerChoice(
        manager, bool(found), _version(tree, group.root, manager, named), note
    )


def _preferred(
    tree: ProjectTree, group: Group, named: re.Match[str] | None, managers: list[str]
) -> tuple[str, str]:
    """A manager's name, and why where a note should say so."""
    if len(managers) == 1:
        if named and named[1] != managers[0]:
            return managers[0], f"although packageManager names {named[1]}"
        return managers[0], ""
    if named and (named[1] in managers or not managers):
        return named[1], "since packageManager names it"
    if (not managers or "bun" in managers) and uses_bun(tree, group):
        return "bun", "since its scripts or tests use bun"
    if not managers:
        hints = (hint for hint in _HINTS if group.root.path(hint) in tree.files)
        hint = next(hints, None)
        return (_HINTS[hint], f"since it has {hint}") if hint else ("npm", "")
    return "npm" if "npm" in managers else managers[0], "since nothing names another"


def _note(root: Package, name: str, why: str, found: list[str]) -> str:
    if found:
        return f"{root.title} has {', '.join(found)}: used {name}, {why}" if why else ""
    ran = f"ran {name} install" + (f", {why}" if why else "")
    return f"no lockfile in {root.title}: {ran}; versions may differ between runs"


def uses_bun(tree: ProjectTree, group: Group) -> bool:
    """Whether a group's scripts call bun or its tests import ``bun:test``."""
    if any(_BUN.search(script) for p in group.packages for script in p.scripts.values()):
        return True
    prefix = group.root.path("")
    tests = (f for f in sorted(tree.files) if f.startswith(prefix) and _TEST_FILE.search(f))
    return any("bun:test" in tree.head(test) for test in tests)


def _named(package: Package) -> re.Match[str] | None:
    value = package.data.get("packageManager")
    return _NAMED.match(value) if isinstance(value, str) else None


def _is_berry(
    tree: ProjectTree, root: Package, named: re.Match[str] | None, *, locked: bool
) -> bool:
    if locked:
        return "__metadata:" in tree.head(root.path("yarn.lock"))
    if named:
        return named[2] != "1"
    return root.path(".yarnrc.yml") in tree.files


def _version(
    tree: ProjectTree, root: Package, manager: Manager, named: re.Match[str] | None
) -> str:
    if named and named[1] == manager.command and named[3]:
        classic = named[2] == "1"
        if manager not in (YARN, BERRY) or classic == (manager is YARN):
            return named[2] + named[3]
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
