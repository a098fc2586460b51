"""Plans the install of a Python project's dependencies."""

import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from revalid.worker.strategies.parts import split_parts
from revalid.worker.strategies.project_tree import MAX_BYTES, ProjectTree
from revalid.worker.strategies.python.pytest_config import pytest_config
from revalid.worker.strategies.python.requirements import (
    TEST_SETS,
    pipfile_requirements,
    project_requirements,
    quoted,
    requirement_files,
    setup_cfg,
    table,
    test_extras,
    test_files_named,
    test_requirements,
)

MANIFESTS = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile")
"""The files that make a directory a Python project; so does a folder ``requirements/``."""

_MANIFEST = re.compile(
    r"(?:^|/)(?:pyproject\.toml|setup\.py|setup\.cfg|requirements\.txt|Pipfile"
    r"|requirements/\w{1,40}\.txt)\Z"
)
_MAX_PROJECTS = 100
_NEW_VENV = "python3 -I -m venv --clear"
"""Isolated, since a project may have a package ``venv``."""
_VENV = f"{_NEW_VENV} .venv"
_PIP = ".venv/bin/pip install"
_BUILD = "${TMPDIR:-/tmp}/revalid-build"
_SETUP = "echo 'import setuptools; setuptools.setup()'"


_SPECIFIER = re.compile(r"[\d\s.,*<>=!~]{1,100}\Z")
_VERSION_CHECK = (
    "import platform, sys; from pip._vendor.packaging.specifiers import SpecifierSet as S; "
    "v = platform.python_version(); S(sys.argv[1]).contains(v, prereleases=True) or "
    "sys.exit(f'requires-python is {sys.argv[1]}, and this is Python {v}')"
)


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

    A project in the root covers what is below it, but not where its tests are looked for elsewhere.
    """
    whole = is_project(tree)
    project = tree.toml("pyproject.toml") or {} if whole else {}
    config = pytest_config(tree, project)
    if whole and (config.looks_into_all or table(project, "tool", "uv", "workspace")):
        return ["."], []
    found = {path.rpartition("/")[0] for path in tree.own_files if _MANIFEST.search(path)}
    directories = [directory.removesuffix("/requirements") for directory in found if directory]
    projects = [name for name in sorted(set(directories)) if is_project(tree.below(name))]
    if whole:
        apart = [name for name in projects if not config.looks_into(name)]
        return [".", *split_parts(apart[:_MAX_PROJECTS], root_has_checks=False)[0]], []
    return split_parts(projects[:_MAX_PROJECTS], root_has_checks=False)


def plan_install(
    tree: ProjectTree, project: dict[str, Any], tools: list[str], directory: str = "."
) -> Install:
    """Plan the install into ``.venv`` that the first lockfile or manifest asks for.

    Args:
        project: The parsed ``pyproject.toml``.
        directory: Where the tree is in the job's project.
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
    elif "pdm.lock" in tree.files:
        commands, reason, locked = _pdm(project), "pdm.lock", True
    elif "Pipfile.lock" in tree.files:
        commands, reason, locked = (
            _with_tool("pipenv", "install --dev --deploy"),
            "Pipfile.lock",
            True,
        )
    else:
        commands, reason, locked = _pip(tree, project, directory), _manifests_found(tree), False
    if not locked:
        notes.append("no lockfile: versions may differ between runs")
    before = []
    if any(_BUILD in command for command in commands):
        # A build writes into its directory, which later checks are to judge: it gets a copy. Of
        # the whole project, since a part may read its version or a file above it.
        whole = posixpath.relpath(".", directory)
        before = [f'rm -rf "{_BUILD}" && cp -R {whole} "{_BUILD}"']
        if not tree.files & {"setup.py", "pyproject.toml"}:
            before.append(
                f"{_SETUP} >{_build_of(directory, '/setup.py')}"
            )  # pip takes no setup.cfg
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
    return _with_tool("poetry", " ".join(["install --no-interaction", *options]))


def _pdm(project: dict[str, Any]) -> list[str]:
    return _with_tool("pdm", " ".join(["install --check", *(f"-G {n}" for n in _extras(project))]))


def _with_tool(tool: str, arguments: str) -> list[str]:
    """Return the commands that run a tool of its own environment on ``.venv``."""
    return [
        f"{_NEW_VENV} .{tool}",
        f".{tool}/bin/pip install {tool}",
        ". .venv/bin/activate",
        f".{tool}/bin/{tool} {arguments}",
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


def _pip(tree: ProjectTree, project: dict[str, Any], directory: str) -> list[str]:
    names = dict.fromkeys((*requirement_files(tree), *test_files_named(tree, project)))
    files = [f"-r {shlex.quote(name)}" for name in names]
    before: list[str] = []
    wanted = test_requirements(tree, project)
    if "Pipfile" in tree.files:
        wanted += pipfile_requirements(tree)
    if _is_packaged(tree, project):
        names = dict.fromkeys((*_extras(project), *test_extras(tree, project)))
        extras = f"[{','.join(names)}]" if names else ""
        files.append(_build_of(directory, extras))
    elif not (requirement_files(tree) and "requirements.txt" in tree.files):
        # Without a build system it is an application: its dependencies alone are installed.
        wanted += project_requirements(project)
        before = _checked_version(project)
    groups = [f"--group {name}" for name in _groups(project)]
    upgrade = [f"{_PIP} --upgrade 'pip>=25.1'"] if groups else []
    targets = [*files, *([quoted(wanted)] if wanted else []), *groups]
    return [*before, *upgrade, *([" ".join([_PIP, *targets])] if targets else [])]


def _build_of(directory: str, end: str) -> str:
    """Return the copy of the project's directory, as a word of a shell command."""
    path = end if directory == "." else f"/{directory}{end}"
    return f'"{_BUILD}"{shlex.quote(path) if path else ""}'


def _checked_version(project: dict[str, Any]) -> list[str]:
    """Return the check of ``requires-python``, which pip makes only for packages."""
    wanted = table(project, "project").get("requires-python")
    if not isinstance(wanted, str) or not _SPECIFIER.match(wanted):
        return []
    return [f".venv/bin/python -c {shlex.quote(_VERSION_CHECK)} {shlex.quote(wanted)}"]


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
