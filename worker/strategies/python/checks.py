"""The ``python`` strategy: a virtual environment, a compile check, mypy and pytest."""

import re
from typing import Any

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.jobs.steps import Exec
from revalid.worker.strategies.plan import Plan, PlannedStep, check, skipped
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.install import MANIFESTS, plan_install, table

__all__ = ["MANIFESTS", "detect", "plan"]

_TEST = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test)\.py\Z")
_COMPILE = "python3 -m compileall -q -x '(^|/)([.][^./]|node_modules/)' ."
_MYPY = ".venv/bin/python -m mypy"
_PYTEST = ".venv/bin/python -m pytest"


def detect(tree: ProjectTree) -> bool:
    """Whether a Python manifest is at the project's root."""
    return not tree.files.isdisjoint(MANIFESTS)


def plan(tree: ProjectTree, image: str) -> Plan:
    """Compile every module, then install and run mypy and pytest where the project has them.

    Raises:
        InvalidProject: There is no manifest, or one does not parse.
    """
    if not detect(tree):
        raise InvalidProject(
            f"strategy python needs one of {', '.join(MANIFESTS)} at the root: add one, "
            "or give the commands with --command"
        )
    project = tree.toml("pyproject.toml") or {}
    mypy = _mypy(tree, project)
    tests = any(_TEST.search(path) and "/site-packages/" not in path for path in tree.files)
    wanted = [*(["mypy"] if mypy else []), *(["pytest"] if tests else [])]
    install = plan_install(tree, project, wanted)
    needs = ("install",)
    steps = (
        check("compile", _COMPILE, parallel=False),
        PlannedStep(
            Exec(name="install", command=install.command), install=True, cacheable=install.cacheable
        ),
        check("typecheck", mypy, needs)
        if mypy
        else skipped("typecheck", _MYPY, "mypy is not configured"),
        check("test", _PYTEST, needs)
        if tests
        else skipped("test", _PYTEST, "no test_*.py or *_test.py"),
    )
    notes = install.notes
    if "python" not in image:
        notes = (f"image {image} must hold python3: name another with --image", *notes)
    return Plan(StrategyName.PYTHON, install.reason, steps, ("python3",), notes)


def _mypy(tree: ProjectTree, project: dict[str, Any]) -> str | None:
    """The mypy command; None where the project does not configure mypy."""
    tool = table(project, "tool", "mypy")
    texts = [tree.head(name, 1 << 16) for name in ("mypy.ini", ".mypy.ini", "setup.cfg")]
    configs = [text for text in texts if re.search(r"^\[mypy\]", text, re.MULTILINE)]
    if "mypy" not in table(project, "tool") and not configs:
        return None
    named = tool.keys() & {"files", "packages", "modules"} or any(
        re.search(r"^(?:files|packages|modules)[ \t]*=", text, re.MULTILINE) for text in configs
    )
    return _MYPY if named else f"{_MYPY} ."
