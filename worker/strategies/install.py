"""Plans how a Node project's dependencies are installed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobs.steps import Exec
from worker.strategies.managers import (
    BUN,
    BUN_VERSION,
    PNPM,
    PNPM_VERSIONS,
    YARN,
    YARN_VERSION,
    Choice,
    choose,
)
from worker.strategies.packages import HOOKS, Package, leaves
from worker.strategies.planned import PlannedStep, skipped
from worker.strategies.tree import Tree
from worker.strategies.workspaces import Group

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

_LOCAL = re.compile(r"(?:file|link|portal|exec):|\.{1,2}(?:/|\Z)|~?/|(?!https?:).*\.(?:tgz|tar\.gz)\Z")
_TOOL = re.compile(r"(?:^|[\s;&|(])(bun|pnpm|yarn)x?(?=\s|$)")
_CHECKS = re.compile(r"(?:pre|post)?(?:build|test|type-?check|check-types|tsc|lint)(?::.*)?\Z")


@dataclass(frozen=True, slots=True)
class Installs:
    """The installs of a project.

    Attributes:
        names: By directory of a group's root, the step that a check of the group needs, if any.
        choices: By the same, its package manager.
        tools: Shell commands that the checks use.
    """

    steps: tuple[PlannedStep, ...]
    names: Mapping[str, tuple[str, ...]]
    choices: Mapping[str, Choice]
    tools: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def every(self) -> tuple[str, ...]:
        """Every install that runs."""
        return tuple(name for names in self.names.values() for name in names)


def plan_installs(tree: Tree, groups: tuple[Group, ...]) -> Installs:
    """Plan one install for each group, and before them one step that provides missing tools.

    Raises:
        InvalidProject: A file that decides cannot be read.
    """
    choices = {group.root.directory: choose(tree, group) for group in groups}
    setup = _setup(groups, choices.values())
    inputs = _inputs(tree, groups)
    steps = [setup] if setup else []
    names: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for group in groups:
        root, choice = group.root, choices[group.root.directory]
        name = root.step("install")
        command = root.within(choice.manager.frozen if choice.locked else choice.manager.unlocked)
        if not any(p.dependencies or HOOKS & p.scripts.keys() for p in group.packages):
            steps.append(skipped(name, command, f"no dependencies in {root.title}"))
            names[root.directory] = ()
            continue
        needs = ("setup",) if setup else ()
        step = Exec(name=name, command=command)
        steps.append(PlannedStep(step, needs, install=True, reuse=choice.locked, inputs=inputs))
        names[root.directory] = (name,)
        notes += [choice.note] if choice.note else []
    tools = ("node", *(choice.manager.command for choice in choices.values()))
    tools += tuple(_tools_called(groups))
    return Installs(tuple(steps), names, choices, tuple(dict.fromkeys(tools)), tuple(notes))


def _setup(groups: tuple[Group, ...], choices: Iterable[Choice]) -> PlannedStep | None:
    provided = {choice.manager.command: choice for choice in choices}
    extra = {
        "bun": Choice(BUN, locked=False, version=BUN_VERSION),
        "pnpm": Choice(PNPM, locked=False, version=PNPM_VERSIONS["10"]),
        "yarn": Choice(YARN, locked=False, version=YARN_VERSION),
    }
    for tool in _tools_called(groups):
        provided.setdefault(tool, extra[tool])
    commands = [
        choice.manager.provide.format(version=choice.version)
        for choice in provided.values()
        if choice.manager.provide
    ]
    if not commands:
        return None
    command = commands[0] if len(commands) == 1 else " && ".join(f"{{ {c}; }}" for c in commands)
    # Versions are exact, so nothing of the project decides the outcome.
    return PlannedStep(Exec(name="setup", command=command), install=True, reuse=True, inputs=())


def _tools_called(groups: tuple[Group, ...]) -> list[str]:
    scripts = (
        command
        for group in groups
        for package in group.packages
        for name, command in package.scripts.items()
        if _CHECKS.match(name) or name in HOOKS
    )
    return list(dict.fromkeys(tool for script in scripts for tool in _TOOL.findall(script)))


def _inputs(tree: Tree, groups: tuple[Group, ...]) -> tuple[str, ...] | None:
    packages = [package for group in groups for package in group.packages]
    members = [member for group in groups for member in group.members]
    if (
        tree.has_node_modules
        or any(_sees_project(package) for package in packages)
        or any("bin" in member.data or "directories" in member.data for member in members)
        or any(path.rpartition("/")[2] in _RUNS_CODE for path in tree.files)
    ):
        return None
    seen = tuple(sorted(path for path in tree.files if _is_seen(path)))
    return seen if all(path.isprintable() for path in seen) else None


def _sees_project(package: Package) -> bool:
    overrides = (package.data.get(field) for field in ("overrides", "resolutions", "pnpm"))
    versions = (*package.dependencies.values(), *(v for o in overrides for v in leaves(o)))
    return (
        bool(HOOKS & package.scripts.keys())
        or bool(_READS_PROJECT & package.dependencies.keys())
        or "dependenciesMeta" in package.data
        or any(_LOCAL.match(version) for version in versions)
    )


def _is_seen(path: str) -> bool:
    *parents, name = path.split("/")
    return name in _SEEN or name.endswith(".patch") or not _SEEN_DIRECTORIES.isdisjoint(parents)
