"""Plans the install of a Python project's dependencies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from revalid.worker.strategies.project_tree import MAX_BYTES, ProjectTree

MANIFESTS = ("pyproject.toml", "setup.py", "requirements.txt")
"""The files that make a directory a Python project."""

TEST_SETS = ("dev", "test", "tests", "testing")
"""Names of extras and groups that hold the dependencies of tests."""

_REQUIREMENTS = tuple(
    name.format(purpose)
    for purpose in ("dev", "test")
    for name in ("requirements-{}.txt", "requirements_{}.txt", "{}-requirements.txt")
)
_VENV = "python3 -m venv --clear .venv"
_PIP = ".venv/bin/pip install"


@dataclass(frozen=True, slots=True)
class Install:
    """The install of a Python project.

    Attributes:
        cacheable: Whether a lockfile decides everything that is installed.
        reason: The files that the install follows.
    """

    command: str
    cacheable: bool
    reason: str
    notes: tuple[str, ...]


def plan_install(tree: ProjectTree, project: dict[str, Any], tools: list[str]) -> Install:
    """Plan the install into ``.venv`` that the first lockfile or manifest asks for.

    Args:
        project: The parsed ``pyproject.toml``.
        tools: Tools that the checks run.

    Raises:
        InvalidProject: A manifest or lockfile cannot be read.
    """
    undeclared = [tool for tool in tools if not _declares(tree, tool)]
    notes = [f"{tool} is not declared: installed its latest version" for tool in undeclared]
    # Declared tools too: their extra or group may not be installed.
    tools_command = " ".join([_PIP, *tools])
    if "uv.lock" in tree.files:
        commands, reason, locked = _uv(project), "uv.lock", True
    elif "poetry.lock" in tree.files or table(project, "tool", "poetry"):
        locked = "poetry.lock" in tree.files
        commands, reason = _poetry(project), "poetry.lock" if locked else "[tool.poetry]"
    else:
        commands, reason, locked = _pip(tree, project), _manifests_found(tree), False
    if not locked:
        notes.append("no lockfile: versions may differ between runs")
    command = " && ".join([_VENV, *commands, *([tools_command] if tools else [])])
    return Install(command, locked and not undeclared, reason, tuple(notes))


def _uv(project: dict[str, Any]) -> list[str]:
    options = [f"--extra {name}" for name in _extras(project)]
    options += [f"--group {name}" for name in _groups(project)]
    # --inexact: uv must not remove itself from the environment that it fills.
    sync = " ".join([".venv/bin/uv sync --locked --inexact", *options])
    return [f"{_PIP} uv", sync]


def _poetry(project: dict[str, Any]) -> list[str]:
    options = [f"--extras {name}" for name in _extras(project)]
    declared_groups = [*_groups(project), *table(project, "tool", "poetry", "group")]
    groups = [name for name in TEST_SETS if name in declared_groups]
    options += [f"--with {','.join(groups)}"] if groups else []
    return [
        "python3 -m venv --clear .poetry",
        ".poetry/bin/pip install poetry",
        ". .venv/bin/activate",
        " ".join([".poetry/bin/poetry install --no-interaction", *options]),
    ]


def _pip(tree: ProjectTree, project: dict[str, Any]) -> list[str]:
    targets = [f"-r {name}" for name in _requirements(tree)]
    if _is_packaged(tree, project):
        extras = ",".join(_extras(project))
        targets.append(f"'.[{extras}]'" if extras else ".")
    groups = [f"--group {name}" for name in _groups(project)]
    upgrade = [f"{_PIP} --upgrade 'pip>=25.1'"] if groups else []
    return [*upgrade, " ".join([_PIP, *targets, *groups])] if targets or groups else []


def _is_packaged(tree: ProjectTree, project: dict[str, Any]) -> bool:
    if "setup.py" in tree.files or "build-system" in project:
        return True
    # With a requirements.txt, a pyproject.toml often has only settings, which pip cannot build.
    return "project" in project and "requirements.txt" not in tree.files


def _manifests_found(tree: ProjectTree) -> str:
    return ", ".join(name for name in (*MANIFESTS, *_REQUIREMENTS) if name in tree.files)


def _requirements(tree: ProjectTree) -> list[str]:
    return [name for name in ("requirements.txt", *_REQUIREMENTS) if name in tree.files]


def _extras(project: dict[str, Any]) -> list[str]:
    declared = table(project, "project", "optional-dependencies")
    return [name for name in TEST_SETS if name in declared]


def _groups(project: dict[str, Any]) -> list[str]:
    declared = table(project, "dependency-groups")
    return [name for name in TEST_SETS if name in declared]


def table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a nested table of a TOML document; empty if it is missing."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _declares(tree: ProjectTree, tool: str) -> bool:
    word = re.compile(rf"(?<![\w.-]){tool}(?![\w.-])")
    return any(word.search(text) for text in _declarations(tree))


def _declarations(tree: ProjectTree) -> Iterator[str]:
    for name in (*MANIFESTS, *_REQUIREMENTS, "setup.cfg"):
        yield tree.head(name, MAX_BYTES)
