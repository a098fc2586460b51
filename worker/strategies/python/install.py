"""Plans the install of a Python project's dependencies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from revalid.worker.strategies.parts import split_parts
from revalid.worker.strategies.project_tree import MAX_BYTES, ProjectTree
from revalid.worker.strategies.python.requirements import (
    TEST_SETS,
    pipfile_requirements,
    project_requirements,
    quoted,
    requirement_files,
    setup_cfg,
    table,
    test_requirements,
)

MANIFESTS = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile")
"""The files that make a directory a Python project; so does a folder ``requirements/``."""

_MANIFEST = re.compile(
    r"(?:^|/)(?:pyproject\.toml|setup\.py|setup\.cfg|requirements\.txt|Pipfile"
    r"|requirements/\w{1,40}\.txt)\Z"
)
_MAX_PROJECTS = 100
_VENV = "python3 -m venv --clear .venv"
_PIP = ".venv/bin/pip install"
_BUILD = "${TMPDIR:-/tmp}/revalid-build"
_COPY = f'rm -rf "{_BUILD}" && cp -R . "{_BUILD}"'
"""A build writes into its directory: it gets a copy, so that checks see the project unchanged."""
_SETUP = f"echo 'import setuptools; setuptools.setup()' >\"{_BUILD}/setup.py\""


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


def is_project(tree: ProjectTree) -> bool:
    """Return whether a Python manifest is at the root of a tree."""
    if tree.files & {"pyproject.toml", "setup.py", "Pipfile"} or requirement_files(tree):
        return True
    return bool(setup_cfg(tree).keys() & {"metadata", "options"})


def python_parts(tree: ProjectTree) -> tuple[list[str], list[str]]:
    """Return the directories of Python projects, and those that are not covered.

    A project in the root covers what is below it.
    """
    if is_project(tree):
        return ["."], []
    found = {path.rpartition("/")[0] for path in tree.files if _MANIFEST.search(path)}
    directories = [directory.removesuffix("/requirements") for directory in found if directory]
    projects = [name for name in sorted(set(directories)) if is_project(tree.below(name))]
    return split_parts(projects[:_MAX_PROJECTS], root_has_checks=False)


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
        commands, reason = _poetry(tree, project), "poetry.lock" if locked else "[tool.poetry]"
    else:
        commands, reason, locked = _pip(tree, project), _manifests_found(tree), False
    if not locked:
        notes.append("no lockfile: versions may differ between runs")
    before = [_COPY] if any(_BUILD in command for command in commands) else []
    if before and not tree.files & {"setup.py", "pyproject.toml"}:
        before.append(_SETUP)  # pip takes no setup.cfg alone
    tail = [tools_command] if tools else []
    command = " && ".join([*before, _VENV, *commands, *tail])
    return Install(command, locked and not undeclared, reason, tuple(notes))


def _uv(project: dict[str, Any]) -> list[str]:
    options = [f"--extra {name}" for name in _extras(project)]
    options += [f"--group {name}" for name in _groups(project)]
    # --inexact: uv must not remove itself from the environment that it fills.
    sync = " ".join([".venv/bin/uv sync --locked --inexact", *options])
    return [f"{_PIP} uv", sync]


def _poetry(tree: ProjectTree, project: dict[str, Any]) -> list[str]:
    poetry = table(project, "tool", "poetry")
    options = [] if _has_package(tree, project) else ["--no-root"]
    extras = [*_extras(project), *(n for n in TEST_SETS if n in table(poetry, "extras"))]
    options += [f"--extras {name}" for name in dict.fromkeys(extras)]
    declared_groups = [*_groups(project), *table(poetry, "group")]
    groups = [name for name in TEST_SETS if name in declared_groups]
    options += [f"--with {','.join(groups)}"] if groups else []
    return [
        "python3 -m venv --clear .poetry",
        ".poetry/bin/pip install poetry",
        ". .venv/bin/activate",
        " ".join([".poetry/bin/poetry install --no-interaction", *options]),
    ]


def _has_package(tree: ProjectTree, project: dict[str, Any]) -> bool:
    """Return whether a poetry project holds a package of its own, which poetry would install."""
    poetry = table(project, "tool", "poetry")
    if poetry.get("package-mode") is False:
        return False
    name = poetry.get("name") or table(project, "project").get("name")
    if "packages" in poetry or not isinstance(name, str):
        return True
    folder = re.sub(r"[-.]+", "_", name).lower()
    places = (f"{folder}/", f"src/{folder}/")
    return any(path.lower().startswith(places) for path in tree.files) or (
        f"{folder}.py" in {path.lower() for path in tree.files}
    )


def _pip(tree: ProjectTree, project: dict[str, Any]) -> list[str]:
    files = [f"-r {name}" for name in requirement_files(tree)]
    wanted = test_requirements(tree, project)
    if "Pipfile" in tree.files:
        wanted += pipfile_requirements(tree)
    if _is_packaged(tree, project):
        extras = ",".join([*_extras(project), *_setup_cfg_extras(tree)])
        files.append(f'"{_BUILD}{f"[{extras}]" if extras else ""}"')
    elif not (requirement_files(tree) and "requirements.txt" in tree.files):
        # Without a build system it is an application: its dependencies alone are installed.
        wanted += project_requirements(project)
    groups = [f"--group {name}" for name in _groups(project)]
    upgrade = [f"{_PIP} --upgrade 'pip>=25.1'"] if groups else []
    targets = [*files, *([quoted(wanted)] if wanted else []), *groups]
    return [*upgrade, " ".join([_PIP, *targets])] if targets else []


def _is_packaged(tree: ProjectTree, project: dict[str, Any]) -> bool:
    if "setup.py" in tree.files or "build-system" in project:
        return True
    return bool(setup_cfg(tree).keys() & {"options", "metadata"})


def _manifests_found(tree: ProjectTree) -> str:
    found = [name for name in MANIFESTS if name in tree.files]
    return ", ".join(dict.fromkeys([*found, *requirement_files(tree)]))


def _extras(project: dict[str, Any]) -> list[str]:
    declared = table(project, "project", "optional-dependencies")
    return [name for name in TEST_SETS if name in declared]


def _setup_cfg_extras(tree: ProjectTree) -> list[str]:
    declared = setup_cfg(tree).get("options.extras_require", {})
    return [name for name in TEST_SETS if name in declared]


def _groups(project: dict[str, Any]) -> list[str]:
    declared = table(project, "dependency-groups")
    return [name for name in TEST_SETS if name in declared]


def _declares(tree: ProjectTree, tool: str) -> bool:
    word = re.compile(rf"(?<![\w.-]){tool}(?![\w.-])")
    return any(word.search(text) for text in _declarations(tree))


def _declarations(tree: ProjectTree) -> Iterator[str]:
    names = dict.fromkeys((*MANIFESTS, *requirement_files(tree), "tox.ini", "noxfile.py"))
    for name in names:
        yield tree.head(name, MAX_BYTES)
