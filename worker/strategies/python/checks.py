"""The ``python`` strategy: a virtual environment, a compile check, types and tests."""

import re
import shlex
from typing import Any

from revalid.jobs.checks import CheckName
from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.jobs.steps import Exec
from revalid.worker.strategies.parts import not_covered
from revalid.worker.strategies.plan import (
    REPORT,
    Plan,
    PlannedStep,
    TestRun,
    cd,
    check,
    skipped,
)
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.install import MANIFESTS, plan_install, python_parts
from revalid.worker.strategies.python.pytest_config import pytest_config
from revalid.worker.strategies.python.requirements import table
from revalid.worker.strategies.python.start import python_start
from revalid.worker.strategies.strategy import joined

manifests = MANIFESTS

_COMPILE = "python3 -I -m compileall -q -x '(^|/)([.][^./]|node_modules/)'"
_PACKAGE = re.compile(r"(src/)?([^/.]{1,100})/__init__\.py\Z")
_MYPY = ".venv/bin/python -m mypy"
_PYRIGHT = ".venv/bin/python -m pyright"
_PYTEST = ".venv/bin/python -m pytest"
_PYTEST_DJANGO = re.compile(r"pytest[-_]django|DJANGO_SETTINGS_MODULE")
_PYTEST_FILES = ("pyproject.toml", "pytest.ini", "setup.cfg", "tox.ini", "conftest.py")


def fits(tree: ProjectTree) -> bool:
    """Return whether a Python project is in the root or in a part."""
    return bool(python_parts(tree)[0])


def plan(tree: ProjectTree) -> Plan:
    """Plan to compile, install, check types and run tests, in the root or in its parts.

    Raises:
        InvalidProject: There is no manifest, or one does not parse.
    """
    directories, others = python_parts(tree)
    if not directories:
        raise InvalidProject(
            f"strategy python needs one of {', '.join(manifests)}, at the root or in a part of the "
            "project: add one, or give the commands with --command"
        )
    plans = {name: _plan_root(tree.below(name), name) for name in directories}
    return joined(plans, not_covered(others, "a Python manifest"))


def _plan_root(tree: ProjectTree, directory: str) -> Plan:
    project = tree.toml("pyproject.toml") or {}
    types_command, types_tool = _types(tree, project)
    config = pytest_config(tree, project)
    has_tests = any(config.holds_tests(tree, path) for path in sorted(tree.files))
    test_command = _test_command(tree)
    tools = [*types_tool, *(["pytest"] if has_tests and test_command == _PYTEST else [])]
    install = plan_install(tree, project, tools, directory)
    depends_on = ("install",)
    steps = (
        check(CheckName.BUILD, "compile", _compile_command(tree), parallel=False),
        PlannedStep(
            Exec(name="install", command=install.command),
            check=CheckName.INSTALL,
            install=True,
            cacheable=install.cacheable,
        ),
        check(CheckName.TYPECHECK, "typecheck", types_command, depends_on)
        if types_command
        else skipped(
            CheckName.TYPECHECK, "typecheck", _MYPY, "mypy is not configured", absent=True
        ),
        check(
            CheckName.TESTS,
            "test",
            test_command,
            depends_on,
            test_run=_test_run(tree, test_command),
        )
        if has_tests
        else skipped(CheckName.TESTS, "test", _PYTEST, "no test_*.py or *_test.py", absent=True),
        *python_start(tree),
    )
    return Plan(StrategyName.PYTHON, install.reason, steps, ("python3",), install.notes)


def _compile_command(tree: ProjectTree) -> str:
    """Return the command that compiles what can be imported; of a bare tree, everything."""
    names = {f"{m[1] or ''}{m[2]}" for p in tree.files if (m := _PACKAGE.match(p))}
    names |= {path for path in tree.files if "/" not in path and path.endswith(".py")}
    listed = " ".join(shlex.quote(f"./{name}") for name in sorted(names))
    return f"{_COMPILE} {listed if names else '.'}"


def _test_command(tree: ProjectTree) -> str:
    """Return Django's own test command for a Django project without a set-up of pytest."""
    manages = [path for path in tree.files if path.rpartition("/")[2] == "manage.py"]
    manage = min(manages, key=lambda path: (path.count("/"), path), default="")
    if "django" not in tree.head(manage):
        return _PYTEST
    configured = any(_PYTEST_DJANGO.search(tree.head(name, 1 << 16)) for name in _PYTEST_FILES)
    declared = any(
        _PYTEST_DJANGO.search(tree.head(name, 1 << 16))
        for name in tree.files
        if name.startswith("requirements") and name.endswith(".txt")
    )
    if configured or declared:
        return _PYTEST
    below, slash, _ = manage.rpartition("/")
    up = "../" * manage.count("/")
    inside = f"{cd(below)} && " if slash else ""
    return f"{inside}{up}.venv/bin/python manage.py test"


def _test_run(tree: ProjectTree, command: str) -> TestRun:
    """Return what is known of the tests; a report that the project asks for stays where it is."""
    if command != _PYTEST:
        return TestRun("unittest")
    if any("junit" in tree.head(name, 1 << 16) for name in _PYTEST_FILES):
        return TestRun("pytest")
    return TestRun("pytest", f'{command} -o junit_family=xunit1 --junitxml="{REPORT}.xml"')


def _types(tree: ProjectTree, project: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the command of the type check that the project configures, and its tool."""
    if command := _find_mypy_command(tree, project):
        return command, ["mypy"]
    if "pyrightconfig.json" in tree.files or "pyright" in table(project, "tool"):
        return _PYRIGHT, ["pyright"]
    return "", []


def _find_mypy_command(tree: ProjectTree, project: dict[str, Any]) -> str | None:
    """Return the mypy command; None if the project does not configure mypy."""
    tool = table(project, "tool", "mypy")
    texts = [tree.head(name, 1 << 16) for name in ("mypy.ini", ".mypy.ini", "setup.cfg")]
    configs = [text for text in texts if re.search(r"^\[mypy\]", text, re.MULTILINE)]
    if "mypy" not in table(project, "tool") and not configs:
        return None
    names_files = tool.keys() & {"files", "packages", "modules"} or any(
        re.search(r"^(?:files|packages|modules)[ \t]*=", text, re.MULTILINE) for text in configs
    )
    return _MYPY if names_files else f"{_MYPY} ."
