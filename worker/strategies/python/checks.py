"""The ``python`` strategy: a virtual environment, a compile check, mypy and pytest."""

import re
from typing import Any

from revalid.jobs.checks import CheckName
from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.jobs.steps import Exec
from revalid.worker.strategies.plan import Plan, PlannedStep, check, skipped
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.install import MANIFESTS, plan_install, table

__all__ = ["MANIFESTS", "detect", "plan"]

_TEST = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test)\.py\Z")
_TEST_CODE = re.compile(r"^[ \t]*(?:async )?(?:def test|class \w*Test)|\bTestCase\b|>>> ", re.M)
_TEST_BYTES = 1 << 16
_COMPILE = "python3 -m compileall -q -x '(^|/)([.][^./]|node_modules/)' ."
_MYPY = ".venv/bin/python -m mypy"
_PYTEST = ".venv/bin/python -m pytest"


def detect(tree: ProjectTree) -> bool:
    """Return whether a Python manifest is at the project's root."""
    return not tree.files.isdisjoint(MANIFESTS)


def plan(tree: ProjectTree, image: str) -> Plan:
    """Plan to compile every module, install, and run mypy and pytest if the project has them.

    Raises:
        InvalidProject: There is no manifest, or one does not parse.
    """
    if not detect(tree):
        raise InvalidProject(
            f"strategy python needs one of {', '.join(MANIFESTS)} at the root: add one, "
            "or give the commands with --command"
        )
    project = tree.toml("pyproject.toml") or {}
    mypy_command = _find_mypy_command(tree, project)
    has_tests = any(_holds_tests(tree, path) for path in sorted(tree.files))
    tools = [*(["mypy"] if mypy_command else []), *(["pytest"] if has_tests else [])]
    install = plan_install(tree, project, tools)
    depends_on = ("install",)
    steps = (
        check(CheckName.BUILD, "compile", _COMPILE, parallel=False),
        PlannedStep(
            Exec(name="install", command=install.command),
            check=CheckName.INSTALL,
            install=True,
            cacheable=install.cacheable,
        ),
        check(CheckName.TYPECHECK, "typecheck", mypy_command, depends_on)
        if mypy_command
        else skipped(
            CheckName.TYPECHECK, "typecheck", _MYPY, "mypy is not configured", absent=True
        ),
        check(CheckName.TESTS, "test", _PYTEST, depends_on)
        if has_tests
        else skipped(CheckName.TESTS, "test", _PYTEST, "no test_*.py or *_test.py", absent=True),
    )
    notes = install.notes
    if "python" not in image:
        notes = (f"image {image} must have python3: name another with --image", *notes)
    return Plan(StrategyName.PYTHON, install.reason, steps, ("python3",), notes)


def _holds_tests(tree: ProjectTree, path: str) -> bool:
    """Return whether a file's name and content say that it holds tests."""
    if not _TEST.search(path) or "/site-packages/" in path:
        return False
    return _TEST_CODE.search(tree.head(path, _TEST_BYTES)) is not None


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
