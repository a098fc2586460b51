"""A Node project: its packages, their installs, and the commands that could check them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from revalid.worker.strategies.node.install import plan_installs
from revalid.worker.strategies.node.managers import Manager
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.test_files import TestFiles, find_test_files, runners_called
from revalid.worker.strategies.node.typescript import bases, type_check
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.project_tree import ProjectTree

_CALLED = re.compile(r"\brun(?:-s|-p)? ([\w:.-]{1,80})")
_MAX_CALLED = 20
_FANS_OUT = re.compile(
    r"\b(?:turbo|nx|lerna|wsrun|ultra|moon|make|just|wireit|lage|rush)\b"
    r"|(?:\A|\s)(?:-r|-ws|--recursive|--workspaces|--filter|workspaces foreach)(?=\s|\Z|=)"
)


@dataclass(frozen=True, slots=True)
class CheckCommand:
    """A command that could check a package.

    Attributes:
        reason: Why it cannot run, in words that ``place`` completes; empty if it can.
        place: The file or directory that the reason is about.
        absent: Whether the package does not have this check at all.
        placeholder: Whether what it has only stands where the check could be.
        script: The text of the script that it runs; empty for a command of ours.
        tests: The test files that it runs, for a command of ours.
    """

    command: str
    reason: str = ""
    place: str = ""
    absent: bool = False
    placeholder: bool = False
    script: str = ""
    tests: TestFiles | None = None

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
        self._roots = {p.directory: group.root for group in groups for p in group.packages}
        self._bases = bases(tree, self.packages)
        managers = {p.directory: self.manager(p) for p in self.packages}
        self._test_files = find_test_files(tree, self.packages, managers)

    def covered_by(self, script: CheckCommand) -> set[str]:
        """Return the directories of the packages for which a script of the root stands.

        These are its workspaces, the packages whose directory it names, and all of them where it
        calls a tool that runs the scripts of others.
        """
        if self.root is None or not script.runs:
            return set()
        text = script.script
        called = _CALLED.findall(text)[:_MAX_CALLED]
        text = "\n".join([text, *(self.root.scripts.get(name, "") for name in called)])
        fans_out = _FANS_OUT.search(text) is not None
        return {
            package.directory
            for package in self.packages
            if fans_out
            or self._roots[package.directory].directory == "."
            or package.directory in text
        }

    def install_of(self, package: Package) -> tuple[str, ...]:
        """Return the names of the install steps that a package depends on."""
        return self.installs.names[self._roots[package.directory].directory]

    def manager(self, package: Package) -> Manager:
        """Return the package manager of a package."""
        return self.installs.choices[self._roots[package.directory].directory].manager

    def tests(self, package: Package) -> CheckCommand:
        """Return the ``test`` script, else the command of the test files without a script."""
        script = self.script(package, "test")
        own = next((tests for tests in self._files_of(package) if not tests.reason), None)
        if script.runs or own is None:
            return script
        return CheckCommand(package.within(own.command), tests=own)

    def other_tests(self, package: Package, runs: Iterable[CheckCommand]) -> list[TestFiles]:
        """Return the test files of a package that no check runs.

        A script that calls no runner by name runs the files of every one, but Playwright's.

        Args:
            runs: The checks that run tests of this package.
        """
        running = [check for check in runs if check.runs]
        named = {name for check in running for name in runners_called(check.script)}
        all_run = any(check.script and not runners_called(check.script) for check in running)
        return [
            tests
            for tests in self._files_of(package)
            if tests.runner not in named
            and not any(tests is check.tests for check in running)
            and not (all_run and tests.runner != "playwright")
        ]

    def _files_of(self, package: Package) -> tuple[TestFiles, ...]:
        return self._test_files.get(package.directory, ())

    def script(self, package: Package, *names: str) -> CheckCommand:
        """Return the command of the first of some scripts that can be a check."""
        manager = self.manager(package)
        present = [name for name in names if name in package.scripts]
        name = next((n for n in present if package.unusable(n) is None), (*present, *names)[0])
        return CheckCommand(
            package.within(f"{manager.command} run {name}"),
            package.unusable(name) or "",
            package.manifest,
            absent=not present,
            placeholder=all(package.is_placeholder(name) for name in present),
            script=package.scripts.get(name, ""),
        )

    def types(self, package: Package) -> CheckCommand:
        """Return the command of a type check with the compiler."""
        root = self._roots[package.directory]
        manager = self.installs.choices[root.directory].manager
        command, reason = type_check(self._tree, package, root, manager)
        path = package.path("tsconfig.json")
        if not reason and path in self._bases:
            reason = "the tsconfig.json is only a base that others extend, in"
        absent = path not in self._tree.files
        return CheckCommand(command, reason, package.title, absent, placeholder=bool(reason))
