"""Finds the test files of packages and the commands that run them with the runner they import."""

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from revalid.jobs.counted import counted
from revalid.worker.strategies.node.managers import Manager
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.plan import REPORT, TestRun
from revalid.worker.strategies.project_tree import ProjectTree

MAX_FILES = 2_000
"""Test files of a project that are read."""
MAX_COMMAND = 60_000
"""Characters of file names in a command; of more files, the runner finds its own."""
_HEAD_BYTES = 16_384

_NAMED = re.compile(r"[._](?:test|spec)\.[cm]?[jt]sx?\Z|(?:^|/)__tests__/[^/]+\.[cm]?[jt]sx?\Z")
_NAMED_FOR_NODE = re.compile(
    r"-test\.[cm]?[jt]sx?\Z|(?:^|/)test-[^/]+\Z|(?:^|/)test/(?:[^/]+/){0,9}[^/]+\.[cm]?[jt]sx?\Z"
)
"""Names that node:test, mocha, ava and tap take besides those that every runner takes."""
_ELSEWHERE = re.compile(r"(?:^|/)(?:dist|build|out|coverage|\.[^/]+)/")
"""Directories of output, and hidden ones, where runners do not look."""
_TYPESCRIPT = re.compile(r"\.[cm]?tsx?\Z")
_IMPORT = re.compile(
    r"""(?:from|require\(|import\(|import) ?["'](bun:test|vitest|node:test|test|@playwright/test"""
    r"""|@jest/globals|mocha|ava|tap|uvu|jasmine)["']"""
)
_CALLS_TEST = re.compile(r"^\s{0,20}(?:describe|it|test)(?:\.\w{1,20})?\(", re.MULTILINE)
_BARE_NODE = re.compile(
    r"(?:\w{1,80}=\S{0,80} )?node (?:--?[\w-]{1,80} ){0,9}--test(?: --?[\w=-]{1,80}){0,9}"
)
_HOLDS = re.compile(
    r"\b(?:test|it|describe|suite|expect)\s{0,9}[.(]|\bassert|\bthrow\b|\.exit\b|\bexitCode\b"
)
_LIKE_NODE = ("node:test", "mocha", "ava", "tap", "uvu")
_RUNNERS = {"test": "node:test", "@jest/globals": "jest", "@playwright/test": "playwright"}
_GLOBAL = ("vitest", "jest", "mocha", "jasmine")
"""Runners whose functions a test file may use without an import, in the order of preference."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\d?>&\d?")
_JOINED = re.compile(r"[&|;\n]|\b(?:turbo|nx|lerna|make|just|concurrently|run-[sp]|npm-run-all)\b")
_HIDES = re.compile(r"[|;]|(?<!&)&(?!&)")
"""What lets a later command decide the exit status."""
_NEEDS_NO_CHECK = re.compile(
    r"\s*(?:(?:cd|echo|export|mkdir|printf|rm|sleep)\b[^$`]*"
    r"|(?:npm|pnpm|yarn|bun)(?: run)? (?:start|dev|serve|preview)\s*)?"
)
"""A command whose failure hides no failed test: it prepares, waits, or starts a server."""
_REPORTERS = {
    "bun:test": ("bun test", f'--reporter=junit --reporter-outfile="{REPORT}.xml"'),
    "vitest": (
        "vitest run",
        f'--reporter=default --reporter=json --outputFile.json="{REPORT}.json"',
    ),
    "jest": ("jest", f'--json --outputFile="{REPORT}.json"'),
    "node:test": (
        "--test",
        "--test-reporter=spec --test-reporter-destination=stdout "
        f'--test-reporter=junit --test-reporter-destination="{REPORT}.xml"',
    ),
}
"""The words of a command after which options make the runner write a report besides its output."""
_CALLED = {
    "bun:test": re.compile(r"\bbun (?:--\S{1,40} )?test\b"),
    "vitest": re.compile(r"\bvitest\b"),
    "jest": re.compile(r"\bjest\b|react-scripts test|\bcraco test"),
    "node:test": re.compile(r"\bnode\b.{0,200} ?--test\b|\btsx\b.{0,80}--test\b"),
    "mocha": re.compile(r"\bmocha\b"),
    "ava": re.compile(r"\bava\b"),
    "playwright": re.compile(r"\bplaywright test\b"),
    "tap": re.compile(r"\btap\b"),
    "uvu": re.compile(r"\buvu\b"),
    "jasmine": re.compile(r"\bjasmine\b"),
}


@dataclass(frozen=True, slots=True)
class TestFiles:
    """The test files of one package that one runner runs.

    Attributes:
        files: Paths relative to the package.
        command: Runs them in the package's directory.
        reporting: The same with a report; empty where the runner writes none.
        reason: Why it cannot run; empty if it can.
    """

    __test__ = False

    runner: str
    files: tuple[str, ...]
    command: str
    reason: str = ""
    reporting: str = ""

    def within(self, package: Package) -> TestRun:
        """Return what is known of the command, run in a package's directory."""
        return TestRun(self.runner, package.within(self.reporting) if self.reporting else "")


def find_test_files(
    tree: ProjectTree, packages: Iterable[Package], managers: Mapping[str, Manager]
) -> dict[str, tuple[TestFiles, ...]]:
    """Return the test files of each package, by its directory, those of most files first.

    Args:
        managers: The package manager of each package, by its directory.

    Raises:
        InvalidProject: A file cannot be read.
    """
    by_directory = {package.directory: package for package in packages}
    found: dict[str, dict[str, list[str]]] = {}
    candidates = sorted(path for path in tree.files if _may_be_test(path))
    for path in candidates[:MAX_FILES]:
        package = by_directory.get(_owner(path, by_directory))
        if package is None:
            continue
        runner = _runner(path, tree.head(path, _HEAD_BYTES), package, by_directory.get("."))
        if runner:
            own = path.removeprefix("" if package.directory == "." else f"{package.directory}/")
            found.setdefault(package.directory, {}).setdefault(runner, []).append(own)
    return {
        directory: tuple(
            _plan(by_directory[directory], managers[directory], runner, names)
            for runner, names in sorted(runners.items(), key=lambda item: -len(item[1]))
        )
        for directory, runners in found.items()
    }


def runs_no_test(tree: ProjectTree, package: Package, script: str) -> bool:
    """Return whether a script has node run files as tests of which none holds one.

    Node counts each of them as a test that passed, such as a ``load-test.js``.
    """
    if _BARE_NODE.fullmatch(script) is None:
        return False
    below = tree.below(package.directory)
    paths = sorted(path for path in below.files if _may_be_test(path))[:MAX_FILES]
    return bool(paths) and not any(_HOLDS.search(below.head(path, _HEAD_BYTES)) for path in paths)


def runners_called(command: str) -> frozenset[str]:
    """Return the runners that a script calls by name."""
    return frozenset(name for name, pattern in _CALLED.items() if pattern.search(command[:4_000]))


def test_run(script: str) -> TestRun:
    """Return what is known of a script that runs tests."""
    plain = _plain(script)
    runners = runners_called(plain)
    alone = len(runners) == 1 and not _JOINED.search(plain)
    return TestRun(
        runner=next(iter(runners)) if alone else None,
        hides_failures=hides_failures(script),
    )


def hides_failures(script: str) -> bool:
    """Return whether another command than one that may run tests decides the exit status."""
    plain = _plain(script)
    *earlier, _ = _HIDES.split(plain)
    commands = [command for part in earlier for command in part.split("&&")]
    return "|" in plain or not all(_NEEDS_NO_CHECK.fullmatch(command) for command in commands)


def _plain(script: str) -> str:
    return _QUOTED.sub("", script[:4_000])


def _may_be_test(path: str) -> bool:
    named = _NAMED.search(path) or _NAMED_FOR_NODE.search(path)
    return bool(named) and not _ELSEWHERE.search(path) and not path.endswith((".d.ts", ".d.mts"))


def _owner(path: str, directories: Mapping[str, Package]) -> str:
    """Return the nearest directory above a file that holds a package."""
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in directories:
            return path
    return "."


def _runner(path: str, text: str, package: Package, root: Package | None) -> str:
    """Return the runner of a file; empty if the file holds no tests."""
    if match := _IMPORT.search(text):
        runner = _RUNNERS.get(match[1], match[1])
        return runner if _NAMED.search(path) or runner in _LIKE_NODE else ""
    if not _NAMED.search(path) or not _CALLS_TEST.search(text):
        return ""
    installed = package.dependencies | (root.dependencies if root else {})
    named = next((name for name in _GLOBAL if name in installed), None)
    if named is None and "react-scripts" in installed:
        return "jest"
    return named or "unknown"


def _plan(package: Package, manager: Manager, runner: str, names: list[str]) -> TestFiles:
    files = tuple(f"./{name}" for name in names)
    listed = " ".join(map(shlex.quote, files))
    if len(listed) > MAX_COMMAND:
        listed = ""
    typescript = any(_TYPESCRIPT.search(name) for name in names)
    count = counted(len(files), "test file")
    installed = package.dependencies
    reason = ""
    match runner:
        case "bun:test":
            command = f"bun test {listed}"
        case "vitest":
            command = f"{manager.local} vitest run {listed}"
        case "jest":
            command = f"{manager.local} jest {'--runTestsByPath ' if listed else ''}{listed}"
        case "node:test":
            loader = next((name for name in ("tsx", "ts-node") if name in installed), None)
            load = {"tsx": "--import tsx ", "ts-node": "--loader ts-node/esm "}
            command = f"node {load[loader] if typescript and loader else ''}--test {listed}"
            if typescript and loader is None and "typescript" in installed:
                reason = f"{count} import node:test, and nothing here loads TypeScript for node"
        case "mocha" | "ava" | "tap" | "uvu" | "jasmine":
            command = f"{manager.local} {runner} {listed}"
        case "playwright":
            command = f"{manager.local} playwright test {listed}"
            reason = f"{count} of Playwright: no test runs beside the browser of render"
        case _:
            command = listed or runner
            reason = f"{count} of an unknown runner, such as {names[0]}"
    needed = runner in ("vitest", "mocha", "ava", "tap", "uvu", "jasmine")
    if not reason and needed and runner not in installed:
        reason = f"{count} import {runner}, which is no dependency of {package.title}"
    reporting = ""
    if runner in _REPORTERS:
        words, options = _REPORTERS[runner]
        reporting = command.replace(words, f"{words} {options}", 1).strip()
    return TestFiles(runner, files, command.strip(), reason, reporting)
