"""The ``dotnet`` strategy: solutions and projects of .NET."""

import re
import shlex

from revalid.jobs.checks import CheckName
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.plan import Plan, PlannedStep, Runtime, check, install, skipped
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.strategy import Language

_SOLUTIONS = (".sln", ".slnx")
_PROJECTS = (".csproj", ".fsproj", ".vbproj")
# Tests of an older framework run on the runtime of the image.
_SET_UP = (
    'export DOTNET_CLI_HOME="$HOME" DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 '
    "DOTNET_ROLL_FORWARD=Major "
    'NUGET_HTTP_CACHE_PATH="${REVALID_NUGET_DOWNLOADS:-$HOME/.nuget/http}"\n'
)
_TEST_PACKAGE = re.compile(
    r"Include=\"(?:Microsoft\.NET\.Test\.Sdk|xunit(?:\.v3)?|NUnit|MSTest(?:\.TestFramework)?|TUnit)\""
    r"|Sdk=\"MSTest\.Sdk",
    re.IGNORECASE,
)
_FRAMEWORK = re.compile(r"<TargetFrameworks?>([^<]{1,200})<")
_MODERN = re.compile(r"net(\d{1,2})\.0(?:-([a-z]{1,12}))?")
_WINDOWS = re.compile(r"net4\d|net\d{1,2}\.0-(?:windows|ios|android|maccatalyst)")
_SDK = re.compile(r"\"version\"\s{0,9}:\s{0,9}\"(\d{1,2})\.")
_MAX_PROJECTS = 200


def plan_part(tree: ProjectTree) -> Plan:
    """Plan the restore, the build and the tests of a solution or project."""
    target = _target(tree)
    projects = [path for path in sorted(tree.files) if path.endswith(_PROJECTS)][:_MAX_PROJECTS]
    texts = {path: tree.head(path, 1 << 16) for path in projects}
    props = tree.head("Directory.Build.props", 1 << 16)
    frameworks = [w for text in (props, *texts.values()) for w in _FRAMEWORK.findall(text)]
    foreign = next((w for w in frameworks if not _runs_on_linux(w)), None)
    locked = any(path.endswith("packages.lock.json") for path in tree.files)
    quoted = shlex.quote(target)
    restore = f"{_SET_UP}dotnet restore {quoted}" + (" --locked-mode" if locked else "")
    build = f"{_SET_UP}dotnet build {quoted} --no-restore"
    test = f"{_SET_UP}dotnet test {quoted} --no-build"
    has_tests = any(_TEST_PACKAGE.search(text) for text in texts.values())
    steps: tuple[PlannedStep, ...]
    if foreign is not None:
        reason = f"{foreign} does not run on Linux"
        steps = (skipped(CheckName.BUILD, "build", f"dotnet build {quoted}", reason, absent=False),)
    else:
        steps = (
            install(restore, cacheable=locked),
            check(CheckName.BUILD, "build", build, ("install",), parallel=False),
            check(CheckName.TESTS, "test", test, ("build",))
            if has_tests
            else skipped(CheckName.TESTS, "test", "dotnet test", "no test project", absent=True),
        )
    runtime = _runtime(tree, frameworks)
    return Plan(StrategyName.DOTNET, target, steps, ("dotnet",), runtime=runtime)


def _target(tree: ProjectTree) -> str:
    """Return the solution or project in the root of a tree that is built."""
    here = sorted(path for path in tree.files if "/" not in path)
    return next(path for ends in (_SOLUTIONS, _PROJECTS) for path in here if path.endswith(ends))


def _runs_on_linux(frameworks: str) -> bool:
    return any(not _WINDOWS.match(name.strip()) for name in frameworks.split(";") if name.strip())


def _runtime(tree: ProjectTree, frameworks: list[str]) -> Runtime:
    if match := _SDK.search(tree.head("global.json")):
        return Runtime("dotnet", f"={match[1]}", "global.json")
    versions = [int(m[1]) for words in frameworks for m in _MODERN.finditer(words)]
    return Runtime("dotnet", f"={max(versions)}" if versions else "", "TargetFramework")


def _has_solution(tree: ProjectTree) -> bool:
    return any("/" not in path and path.endswith(_SOLUTIONS) for path in tree.files)


DOTNET = Language(
    StrategyName.DOTNET,
    tuple(f"*{end}" for end in (*_SOLUTIONS, *_PROJECTS)),
    plan_part,
    _has_solution,
)
