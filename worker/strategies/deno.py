"""The ``deno`` strategy: projects with a ``deno.json``."""

import json
import re
import shlex
from typing import Any

from revalid.jobs.checks import CheckName
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.node.scripts import does_nothing
from revalid.worker.strategies.node.test_files import hides_failures
from revalid.worker.strategies.plan import (
    Plan,
    PlannedStep,
    Runtime,
    TestRun,
    check,
    install,
    skipped,
)
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.requirements import table
from revalid.worker.strategies.strategy import Language

_SET_UP = 'export DENO_DIR="$HOME/.cache/deno" DENO_NO_UPDATE_CHECK=1 NO_COLOR=1\n'
_MANIFESTS = ("deno.json", "deno.jsonc")
_TEST = re.compile(r"(?:^|/)(?:[^/]{1,200}[._])?test\.(?:[mc]?[jt]s|[jt]sx)\Z|/__tests__/")
_SOURCE = re.compile(r"\.(?:[mc]?ts|tsx)\Z")
_COMMENT = re.compile(r"^\s{0,80}//[^\n]*$", re.MULTILINE)
_TRAILING_COMMA = re.compile(r",(\s{0,200}[\]}])")


def plan_part(tree: ProjectTree) -> Plan:
    """Plan the download, the build, the type check and the tests of a project."""
    manifest = next(name for name in _MANIFESTS if name in tree.files)
    tasks = table(_read(tree, manifest), "tasks")
    locked = "deno.lock" in tree.files
    depends_on = ("install",)
    has_types = any(_SOURCE.search(path) for path in tree.files)
    steps = (
        install(f"{_SET_UP}deno install" + (" --frozen" if locked else ""), cacheable=locked),
        _task(CheckName.BUILD, tasks, "build"),
        check(CheckName.TYPECHECK, "typecheck", f"{_SET_UP}deno check .", depends_on)
        if has_types
        else skipped(
            CheckName.TYPECHECK, "typecheck", "deno check", "no TypeScript source", absent=True
        ),
        _tests(tree, tasks),
    )
    return Plan(StrategyName.DENO, manifest, steps, ("deno",), runtime=Runtime("deno"))


def _read(tree: ProjectTree, manifest: str) -> dict[str, Any]:
    """Return the manifest, which may hold comments; what Deno alone can read counts as empty."""
    text = _TRAILING_COMMA.sub(r"\1", _COMMENT.sub("", tree.head(manifest, 1 << 16)))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _task(check_name: CheckName, tasks: dict[str, Any], name: str) -> PlannedStep:
    command = f"deno task {shlex.quote(name)}"
    if not _does(tasks.get(name)):
        reason = f"only a placeholder for a task {name}" if name in tasks else f"no task {name}"
        return skipped(check_name, name, command, reason, absent=True)
    return check(check_name, name, f"{_SET_UP}{command}", ("install",), parallel=False)


def _command(task: object) -> str:
    """Return the command of a task; empty for one that only runs others."""
    command = task.get("command") if isinstance(task, dict) else task
    return command if isinstance(command, str) else ""


def _does(task: object) -> bool:
    """Return whether a task runs something: by its command, or by the tasks it depends on."""
    runs_others = isinstance(task, dict) and bool(task.get("dependencies"))
    return runs_others or not does_nothing(_command(task))


def _tests(tree: ProjectTree, tasks: dict[str, Any]) -> PlannedStep:
    task, command = tasks.get("test"), f"{_SET_UP}deno task test"
    if _does(task):
        known = TestRun(hides_failures=hides_failures(_command(task)))
        return check(CheckName.TESTS, "test", command, ("install",), test_run=known)
    if any(_TEST.search(path) for path in tree.files):
        return check(CheckName.TESTS, "test", f"{_SET_UP}deno test -A", ("install",))
    reason = "only a placeholder for a task test" if "test" in tasks else "no test file"
    return skipped(CheckName.TESTS, "test", "deno test -A", reason, absent=True)


DENO = Language(StrategyName.DENO, _MANIFESTS, plan_part)
