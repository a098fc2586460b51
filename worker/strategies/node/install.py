"""Plans the install of a Node project's dependencies."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from revalid.jobs.checks import CheckName
from revalid.jobs.steps import Exec
from revalid.worker.strategies.node.install_inputs import install_inputs
from revalid.worker.strategies.node.manager_choice import (
    PackageManagerChoice,
    detect_manager,
    uses_bun,
)
from revalid.worker.strategies.node.managers import (
    BERRY,
    BUN,
    BUN_VERSION,
    PNPM,
    PNPM_VERSIONS,
    YARN,
    YARN_VERSION,
)
from revalid.worker.strategies.node.packages import HOOKS
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.plan import PlannedStep, skipped
from revalid.worker.strategies.project_tree import ProjectTree

_TOOL = re.compile(r"(?:^|[\s;&|(])(bun|pnpm|yarn)x?(?=\s|$)")
_CHECKS = re.compile(r"(?:pre|post)?(?:build|test|type-?check|check-types|tsc|lint)(?::.*)?\Z")


@dataclass(frozen=True, slots=True)
class Installs:
    """The installs of a project.

    Attributes:
        names: The steps that a check of a group depends on, by the directory of the group's root.
        choices: The package manager of a group, by the same directory.
        tools: Shell commands that the checks use.
    """

    steps: tuple[PlannedStep, ...]
    names: Mapping[str, tuple[str, ...]]
    choices: Mapping[str, PackageManagerChoice]
    tools: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def every(self) -> tuple[str, ...]:
        """The steps that a check of the whole project depends on."""
        return tuple(dict.fromkeys(name for names in self.names.values() for name in names))


def plan_installs(tree: ProjectTree, groups: tuple[Group, ...]) -> Installs:
    """Plan one install for each group, after one step that installs missing tools.

    Raises:
        InvalidProject: A manifest or lockfile cannot be read.
    """
    choices = {group.root.directory: detect_manager(tree, group) for group in groups}
    setup = _setup(tree, groups, choices.values())
    inputs = install_inputs(tree, groups)
    steps = [setup] if setup else []
    depends_on = ("setup",) if setup else ()
    step_names: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for group in groups:
        root, choice = group.root, choices[group.root.directory]
        name = root.step("install")
        command = root.within(choice.manager.frozen if choice.locked else choice.manager.unlocked)
        needed = any(p.dependencies or HOOKS & p.scripts.keys() for p in group.packages)
        if not needed and choice.manager is not BERRY:  # berry runs no script before an install
            reason = f"no dependencies in {root.title}"
            steps.append(skipped(CheckName.INSTALL, name, command, reason, absent=True))
            step_names[root.directory] = depends_on
            continue
        step = Exec(name=name, command=command)
        steps.append(
            PlannedStep(
                step,
                depends_on,
                check=CheckName.INSTALL,
                install=True,
                cacheable=choice.locked,
                inputs=inputs,
            )
        )
        step_names[root.directory] = (name,)
        notes += [choice.note] if choice.note else []
    tools = ("node", *(choice.manager.command for choice in choices.values()))
    tools += tuple(_tools_called(groups))
    return Installs(tuple(steps), step_names, choices, tuple(dict.fromkeys(tools)), tuple(notes))


def _setup(
    tree: ProjectTree, groups: tuple[Group, ...], choices: Iterable[PackageManagerChoice]
) -> PlannedStep | None:
    choice_by_command = {choice.manager.command: choice for choice in choices}
    defaults = {
        "bun": PackageManagerChoice(BUN, locked=False, version=BUN_VERSION),
        "pnpm": PackageManagerChoice(PNPM, locked=False, version=PNPM_VERSIONS["10"]),
        "yarn": PackageManagerChoice(YARN, locked=False, version=YARN_VERSION),
    }
    tests_tool = ["bun"] if any(uses_bun(tree, group) for group in groups) else []
    for tool in (*_tools_called(groups), *tests_tool):
        choice_by_command.setdefault(tool, defaults[tool])
    commands = [
        choice.manager.provide.format(version=choice.version)
        for choice in choice_by_command.values()
        if choice.manager.provide
    ]
    if not commands:
        return None
    command = commands[0] if len(commands) == 1 else " && ".join(f"{{ {c}; }}" for c in commands)
    # Versions are exact, so the project does not influence the outcome.
    return PlannedStep(Exec(name="setup", command=command), install=True, cacheable=True, inputs=())


def _tools_called(groups: tuple[Group, ...]) -> list[str]:
    scripts = (
        command
        for group in groups
        for package in group.packages
        for name, command in package.scripts.items()
        if _CHECKS.match(name) or name in HOOKS
    )
    return list(dict.fromkeys(tool for script in scripts for tool in _TOOL.findall(script)))
