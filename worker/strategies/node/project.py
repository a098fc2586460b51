"""A Node project: its packages, their installs, and the commands that could check them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from revalid.worker.strategies.node.install import plan_installs
from revalid.worker.strategies.node.managers import Manager
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.scripts import checks_types, runs_no_tests, split_commands
from revalid.worker.strategies.node.test_files import (
    TestFiles,
    find_test_files,
    runners_called,
    runs_no_test,
    test_run,
)
from revalid.worker.strategies.node.typescript import bases, type_check
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.plan import UNKNOWN, TestRun
from revalid.worker.strategies.project_tree import ProjectTree

TYPE_SCRIPTS = (
    *("typecheck", "type-check", "check-types", "check:types", "types:check", "typecheck:all"),
    *("tsc", "ts:check", "lint:types", "typescript"),
)
"""Scripts that check types; the project's own goes before a command of ours."""
TEST_SCRIPTS = (
    *("test", "test:ci", "test:run", "test:once", "test:all", "test:unit", "unit", "test-unit"),
    *("tests", "test:node", "test:js", "test:ts", "test:jest", "test:vitest", "jest", "vitest"),
)
"""Scripts that run tests; the first one that can be a check is taken."""
_CACHES = {
    "TURBO_FORCE": re.compile(r"\bturbo\b"),
    "NX_SKIP_NX_CACHE": re.compile(r"\b(?:nx|lerna)\b"),
}
"""Variables that keep a tool from replaying tests that ran before, or elsewhere."""
_FANS_OUT = re.compile(
    r"\b(?:turbo|lerna|wsrun|ultra|moon|make|just|wireit|lage|rush)\b|\bnx (?:run-many|affected)\b"
    r"|(?:^|\s)(?:-r|-ws|--recursive|--workspaces)(?=\s|$|=)|\bworkspaces (?:run|foreach)\b"
    r"|\btsc (?:-b|--build)\b",
    re.MULTILINE,
)
_CHOOSES = re.compile(
    r"(?:^|\s)--?(?:filter|scope|projects?|include|F)[ =][\"']?(?!\S{0,80}\*)", re.M
)
_MOVES_FILES = frozenset({"echo", "printf", "cp", "mv", "rm", "rimraf", "mkdir", "rsync"})
_BEFORE_A_NAME = frozenset({"-w", "-F", "--workspace", "--filter", "--scope", "workspace"})
_WHOLE_TREE = frozenset({"jest", "vitest", "node:test", "bun:test", "ava"})
"""Runners that find the test files below their directory by themselves."""
_TAKES_VALUE = re.compile(
    r"(?:-c|-r|--config|--require|--import|--loader|--test-reporter|--reporters?|--root|--dir"
    r"|--env-file|--environment|--tsconfig|--project)\Z"
)


@dataclass(frozen=True, slots=True)
class CheckCommand:
    """A command that could check a package.

    Attributes:
        reason: Why it cannot run, in words that ``place`` completes; empty if it can.
        place: The file or directory that the reason is about.
        absent: Whether the package does not have this check at all.
        placeholder: Whether what it has only stands where the check could be.
        script: The text of the scripts that it runs; empty for a command of ours.
        tests: The test files that it runs, for a command of ours.
        test_run: What is known of the tests that it runs.
    """

    command: str
    reason: str = ""
    place: str = ""
    absent: bool = False
    placeholder: bool = False
    script: str = ""
    tests: TestFiles | None = None
    test_run: TestRun = UNKNOWN

    @property
    def runs(self) -> bool:
        """Whether it can run."""
        return not self.reason


class NodeProject:
    """A project with at least one package.

    Attributes:
        packages: Every package; the root, where there is one, is the first.
        root: The package in the project's root.
        installs: The installs of their dependencies.
        files: Every file of the project.
    """

    def __init__(self, tree: ProjectTree, groups: tuple[Group, ...]) -> None:
        self.packages = tuple(package for group in groups for package in group.packages)
        self.root = next((p for p in self.packages if p.directory == "."), None)
        self.installs = plan_installs(tree, groups)
        self.files = tree.files
        self._tree = tree
        self._directories: dict[str, bool] = {}
        self._roots = {p.directory: group.root for group in groups for p in group.packages}
        self._bases = bases(tree, self.packages)
        managers = {p.directory: self.manager(p) for p in self.packages}
        self._test_files = find_test_files(tree, self.packages, managers)

    def covered_by(self, script: CheckCommand, *names: str) -> set[str]:
        """Return the directories of the packages for which a script of the root stands.

        These are the packages that it names, all of them where it calls a tool that runs the
        scripts of others, and its workspaces without a script of their own.

        Args:
            names: The scripts of a package that would do the same.
        """
        if self.root is None or not script.runs:
            return set()
        commands = split_commands(script.script) or []
        fans_out = any(_fans_out(words) for words in commands)
        whole = frozenset(name for words in commands for name in self._whole_tree_runners(words))

        def stands_for(package: Package) -> bool:
            if (
                package.directory == "."
                or fans_out
                or any(_is_named(package, words) for words in commands)
            ):
                return True
            own = self.script(package, *names)
            is_member = self._roots[package.directory].directory == "."
            return is_member and (
                not own.runs or (bool(whole) and runners_called(own.script) == whole)
            )

        return {package.directory for package in self.packages if stands_for(package)}

    def _whole_tree_runners(self, words: list[str]) -> frozenset[str]:
        """Return the runners that a command starts without naming files or directories."""
        runners = runners_called(" ".join(words)) & _WHOLE_TREE
        return frozenset() if self.root and self._paths(self.root, words) else runners

    def _is_directory(self, word: str) -> bool:
        if word not in self._directories:
            prefix = f"{word.rstrip('/')}/"
            self._directories[word] = any(path.startswith(prefix) for path in self.files)
        return self._directories[word]

    def install_of(self, package: Package) -> tuple[str, ...]:
        """Return the names of the install steps that a package depends on."""
        return self.installs.names[self._roots[package.directory].directory]

    def manager(self, package: Package) -> Manager:
        """Return the package manager of a package."""
        return self.installs.choices[self._roots[package.directory].directory].manager

    def tests(self, package: Package) -> CheckCommand:
        """Return the ``test`` script, else the command of the test files without a script."""
        script = self.test_script(package)
        own = next((tests for tests in self._files_of(package) if not tests.reason), None)
        if script.runs or own is None:
            return script
        return CheckCommand(package.within(own.command), tests=own, test_run=own.within(package))

    def other_tests(self, package: Package, runs: Iterable[CheckCommand]) -> list[TestFiles]:
        """Return the test files of a package that no check runs.

        A script that calls no runner by name runs the files of every one, but Playwright's.

        Args:
            runs: The checks that run tests of this package.
        """
        running = [check for check in runs if check.runs]
        named = {name for check in running for name in runners_called(check.script)}
        all_run = any(
            check.script and not runners_called(check.script) and not runs_no_tests(check.script)
            for check in running
        )
        return [
            tests
            for tests in self._files_of(package)
            if tests.runner not in named
            and not any(tests is check.tests for check in running)
            and not (all_run and tests.runner != "playwright")
        ]

    def files_not_run(self, package: Package, runs: Iterable[CheckCommand]) -> list[str]:
        """Return the test files of a package's runner that its script does not name.

        Args:
            runs: The checks that run tests of this package.
        """
        places: dict[str, list[str]] = {}
        for check in runs:
            for words in (split_commands(check.script) or ()) if check.runs else ():
                for runner in runners_called(" ".join(words)):
                    places.setdefault(runner, []).extend(self._paths(package, words) or [""])
        return [
            package.path(file.removeprefix("./"))
            for tests in self._files_of(package)
            for file in tests.files
            if not any(place in file for place in places.get(tests.runner, [""]))
        ]

    def _paths(self, package: Package, words: list[str]) -> list[str]:
        """Return the start of each file, directory or glob that a command names."""
        paths = []
        for before, word in pairwise(words):
            is_path = "/" in word or "*" in word or self._is_directory(package.path(word))
            if is_path and not word.startswith("-") and not _TAKES_VALUE.match(before):
                paths.append(re.split(r"[*?{\[(]", word.removeprefix("./"), maxsplit=1)[0])
        return paths

    def _files_of(self, package: Package) -> tuple[TestFiles, ...]:
        return self._test_files.get(package.directory, ())

    def script(self, package: Package, *names: str, uncached: bool = False) -> CheckCommand:
        """Return the command of the first of some scripts that can be a check.

        Args:
            uncached: Whether a tool that it calls must run what it could replay from its cache.
        """
        manager = self.manager(package)
        present = [name for name in names if name in package.scripts]
        name = next((n for n in present if package.unusable(n) is None), (*present, *names)[0])
        text = package.runs(name)
        calls = (name for name, tool in _CACHES.items() if uncached and tool.search(text))
        forced = "".join(f"{variable}=true " for variable in calls)
        empty = uncached and runs_no_test(self._tree, package, text)
        reason = "no file with a test for the test script in" if empty else ""
        return CheckCommand(
            package.within(f"{forced}{manager.command} run {name}"),
            package.unusable(name) or reason,
            package.manifest,
            absent=not present,
            placeholder=empty or all(package.is_placeholder(name) for name in present),
            script=text,
            test_run=test_run(text),
        )

    def test_script(self, package: Package) -> CheckCommand:
        """Return the command of the package's own script that runs tests, and replays none."""
        return self.script(package, *TEST_SCRIPTS, uncached=True)

    def type_script(self, package: Package) -> CheckCommand:
        """Return the command of the package's own script that checks types."""
        others = (name for name, text in package.scripts.items() if checks_types(name, text))
        return self.script(package, *TYPE_SCRIPTS, *others)

    def types(self, package: Package) -> CheckCommand:
        """Return the command of a type check with the compiler."""
        root, manager = self._roots[package.directory], self.manager(package)
        command, reason = type_check(self._tree, package, root, manager)
        path = package.path("tsconfig.json")
        if not reason and path in self._bases:
            reason = "the tsconfig.json is only a base that others extend, in"
        absent = path not in self._tree.files
        return CheckCommand(command, reason, package.title, absent, placeholder=bool(reason))


def _fans_out(words: list[str]) -> bool:
    text = " ".join(words)
    return _FANS_OUT.search(text) is not None and _CHOOSES.search(text) is None


def _is_named(package: Package, words: list[str]) -> bool:
    """Return whether a command names a package: its directory, one above or below it, its name."""
    directory, name = package.directory, package.name
    if words[0] in _MOVES_FILES:
        return False
    for before, word in pairwise(["", *words]):
        value = word.partition("=")[2] or word
        path = value.removeprefix("./").partition("*")[0].rstrip("/")
        if path and (f"{path}/".startswith(f"{directory}/") or directory.startswith(f"{path}/")):
            return True
        if name == value and (value != word or before in _BEFORE_A_NAME):
            return True
        if words[0] == "nx" and value.partition(":")[0] in (name, directory.rpartition("/")[2]):
            return True
    return False
