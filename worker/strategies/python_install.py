"""How a Python project's dependencies are installed."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.strategies.tree import MAX_BYTES, Tree

MANIFESTS = ("pyproject.toml", "setup.py", "requirements.txt")
"""The files that make a directory a Python project."""

TEST_SETS = ("dev", "test", "tests", "testing")
"""Names of extras and groups that hold what the tests need."""

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
        locked: A lockfile decides what is installed.
        reason: What was seen.
    """

    command: str
    locked: bool
    reason: str
    notes: tuple[str, ...]


def plan_install(tree: Tree, project: dict[str, Any], wanted: list[str]) -> Install:
    """The install into ``.venv``, by what the first lockfile or manifest that is there asks for.

    Args:
        project: The parsed ``pyproject.toml``.
        wanted: Tools that the checks run; those the project does not declare are added.

    Raises:
        InvalidProject: A file that decides cannot be read.
    """
    missing = [tool for tool in wanted if not _declares(tree, tool)]
    notes = [f"{tool} is not declared: installed its latest version" for tool in missing]
    extra = f" && {_PIP} {' '.join(missing)}" if missing else ""
    if "uv.lock" in tree.files:
        return Install(f"{_uv(project)}{extra}", True, "uv.lock", tuple(notes))
    if "poetry.lock" in tree.files:
        return Install(f"{_poetry(project)}{extra}", True, "poetry.lock", tuple(notes))
    notes.append("no lockfile: versions may differ between runs")
    targets, reason = _targets(tree, project)
    commands = [_VENV]
    if "--group" in targets:
        commands.append(f"{_PIP} --upgrade 'pip>=25.1'")
    if targets or missing:
        commands.append(" ".join([_PIP, *targets, *missing]))
    return Install(" && ".join(commands), False, reason, tuple(notes))


def _uv(project: dict[str, Any]) -> str:
    options = [f"--extra {name}" for name in _extras(project)]
    options += [f"--group {name}" for name in _groups(project)]
    # --inexact: uv is in the environment that it fills, and must not remove itself.
    sync = " ".join([".venv/bin/uv sync --locked --inexact", *options])
    return f"{_VENV} && {_PIP} uv && {sync}"


def _poetry(project: dict[str, Any]) -> str:
    options = [f"--extras {name}" for name in _extras(project)]
    named = [*_groups(project), *table(project, "tool", "poetry", "group")]
    groups = [name for name in TEST_SETS if name in named]
    options += [f"--with {','.join(groups)}"] if groups else []
    install = " ".join([".poetry/bin/poetry install --no-interaction", *options])
    own = "python3 -m venv --clear .poetry && .poetry/bin/pip install poetry"
    return f"{_VENV} && {own} && . .venv/bin/activate && {install}"


def _targets(tree: Tree, project: dict[str, Any]) -> tuple[list[str], str]:
    """pip's arguments, and what was seen."""
    files = [name for name in ("requirements.txt", *_REQUIREMENTS) if name in tree.files]
    targets = [f"-r {name}" for name in files]
    if "requirements.txt" not in files:
        packaged = "setup.py" in tree.files or bool(project.keys() & {"project", "build-system"})
    else:
        # A pyproject without a build system often only holds settings: pip could not build it.
        packaged = "setup.py" in tree.files or "build-system" in project
    if packaged:
        extras = ",".join(_extras(project))
        targets.append(shlex.quote(f".[{extras}]") if extras else ".")
    for group in _groups(project):
        targets += ["--group", group]
    seen = [*files, *(name for name in MANIFESTS[:2] if name in tree.files)]
    return targets, ", ".join(seen)


def _extras(project: dict[str, Any]) -> list[str]:
    declared = table(project, "project", "optional-dependencies")
    return [name for name in TEST_SETS if name in declared]


def _groups(project: dict[str, Any]) -> list[str]:
    declared = table(project, "dependency-groups")
    return [name for name in TEST_SETS if name in declared]


def table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A nested table of a TOML document; empty where there is none."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _declares(tree: Tree, tool: str) -> bool:
    word = re.compile(rf"(?<![\w.-]){tool}(?![\w.-])")
    return any(word.search(text) for text in _declarations(tree))


def _declarations(tree: Tree) -> Iterator[str]:
    for name in (*MANIFESTS, *_REQUIREMENTS, "setup.cfg"):
        yield tree.head(name, MAX_BYTES)
