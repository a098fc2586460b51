"""Plans the checks of a Node project for the strategies ``trpc`` and ``npm``."""

from collections.abc import Callable, Iterable
from functools import partial

from revalid.jobs.checks import CheckName
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.node.builds import Builds
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.project import (
    TEST_SCRIPTS,
    TYPE_SCRIPTS,
    CheckCommand,
    NodeProject,
)
from revalid.worker.strategies.node.start import node_start
from revalid.worker.strategies.node.test_files import TestFiles
from revalid.worker.strategies.node.workspaces import Group, uncovered
from revalid.worker.strategies.parts import not_covered
from revalid.worker.strategies.plan import Plan, PlannedStep, check, skipped
from revalid.worker.strategies.project_tree import ProjectTree

Dependencies = Callable[[Package], tuple[str, ...]]


def node_plan(
    strategy: StrategyName,
    tree: ProjectTree,
    groups: tuple[Group, ...],
    reason: str,
    *,
    lint: bool = False,
) -> Plan:
    """Plan a project with at least one group.

    Args:
        lint: Whether to run a ``lint`` script, whose outcome does not decide.

    Raises:
        InvalidProject: A manifest or lockfile cannot be read.
    """
    project = NodeProject(tree, groups)
    installs = project.installs
    builds = Builds(project)
    steps = [*installs.steps, *_builds(project, builds), *_types(project, builds)]
    if lint:
        steps += _lint(project, builds)
    tests, files_not_run = _tests(project, builds)
    steps += [*tests, *node_start(tree, project, builds)]
    notes = (
        *installs.notes,
        *not_covered(uncovered(tree, groups), "package.json"),
        *not_covered(files_not_run, "tests"),
    )
    return Plan(strategy, reason, tuple(steps), installs.tools, notes)


def _builds(project: NodeProject, builds: Builds) -> list[PlannedStep]:
    all_installs = project.installs.every
    steps, packages = [], builds.in_order()
    if root := project.root:
        script = project.script(root, "build")
        if covered := project.covered_by(script, "build"):
            builds.steps = dict.fromkeys(sorted(covered), "build")
            steps = [check(CheckName.BUILD, "build", script.command, all_installs, parallel=False)]
            packages = [package for package in packages if package.directory not in covered]

    def depends_on(package: Package) -> tuple[str, ...]:
        builds_first = builds.needed_by([package])
        builds.steps[package.directory] = package.step("build")
        return all_installs + builds_first

    return steps + _step_per_package(
        CheckName.BUILD,
        "build",
        packages,
        lambda package: project.script(package, "build"),
        depends_on,
        parallel=False,
    )


def _types(project: NodeProject, builds: Builds) -> list[PlannedStep]:
    all_installs = project.installs.every
    steps, packages = [], list(project.packages)
    if root := project.root:
        script = project.type_script(root)
        if covered := project.covered_by(script, *TYPE_SCRIPTS):
            depends_on = all_installs + builds.needed_by(project.packages)
            steps = [check(CheckName.TYPECHECK, "typecheck", script.command, depends_on)]
            packages = [package for package in packages if package.directory not in covered]

    def command_of(package: Package) -> CheckCommand:
        script = project.type_script(package)
        return script if script.runs else project.types(package)

    return steps + _step_per_package(
        CheckName.TYPECHECK,
        "typecheck",
        packages,
        command_of,
        lambda package: all_installs + builds.needed_by([package]),
    )


def _lint(project: NodeProject, builds: Builds) -> list[PlannedStep]:
    steps, packages = [], list(project.packages)
    if root := project.root:
        script = project.script(root, "lint")
        if covered := project.covered_by(script, "lint"):
            depends_on = project.installs.every + builds.needed_by(project.packages)
            step = check(CheckName.LINT, "lint", script.command, depends_on, allow_failure=True)
            steps = [step]
            packages = [package for package in packages if package.directory not in covered]
    return steps + _step_per_package(
        CheckName.LINT,
        "lint",
        packages,
        lambda package: project.script(package, "lint"),
        lambda package: project.install_of(package) + builds.needed_by([package]),
        allow_failure=True,
    )


def _tests(project: NodeProject, builds: Builds) -> tuple[list[PlannedStep], list[str]]:
    """Plan the test scripts, and the test files that no script runs with the runner they import.

    Return the steps, and the test files that none of them runs.
    """

    def depends_on(package: Package) -> tuple[str, ...]:
        return project.install_of(package) + builds.needed_by([package])

    steps, packages = [], list(project.packages)
    runs = {package.directory: [project.tests(package)] for package in packages}
    if root := project.root:
        script = project.test_script(root)
        if covered := project.covered_by(script, *TEST_SCRIPTS):
            every = project.installs.every + builds.needed_by(project.packages)
            steps = [
                check(CheckName.TESTS, "test", script.command, every, test_run=script.test_run)
            ]
            packages = [package for package in packages if package.directory not in covered]
            runs |= {directory: [script] for directory in covered}
    steps += _step_per_package(
        CheckName.TESTS, "test", packages, lambda package: runs[package.directory][0], depends_on
    )
    for package in project.packages:
        for tests in project.other_tests(package, runs[package.directory]):
            steps.append(_test_files(package, tests, depends_on(package)))
    not_run = (project.files_not_run(p, runs[p.directory]) for p in project.packages)
    return steps, [file for files in not_run for file in files]


def _test_files(package: Package, tests: TestFiles, depends_on: tuple[str, ...]) -> PlannedStep:
    name = f"{package.step('test')} ({tests.runner})"
    command = package.within(tests.command)
    if not tests.reason:
        return check(CheckName.TESTS, name, command, depends_on, test_run=tests.within(package))
    if tests.runner == "playwright":  # shown, and decides nothing
        return skipped(CheckName.RENDER, name, command, tests.reason, absent=True)
    return skipped(CheckName.TESTS, name, command, tests.reason, absent=False)


def _step_per_package(
    check_name: CheckName,
    verb: str,
    packages: Iterable[Package],
    command_of: Callable[[Package], CheckCommand],
    depends_on: Dependencies,
    *,
    allow_failure: bool = False,
    parallel: bool = True,
) -> list[PlannedStep]:
    """Return a step for each package, or one skipped step if no package can run it."""
    commands = [(package, command_of(package)) for package in packages]
    if not commands:
        return []
    if not any(check_command.runs for _, check_command in commands):
        places_by_reason: dict[str, list[str]] = {}
        for _, check_command in commands:
            places_by_reason.setdefault(check_command.reason, []).append(check_command.place)
        reasons = (f"{reason} {_listed(places)}" for reason, places in places_by_reason.items())
        absent = all(c.absent or c.placeholder for _, c in commands)
        command = commands[0][1].command
        return [skipped(check_name, verb, command, "; ".join(reasons), absent=absent)]
    make_check = partial(check, check_name, allow_failure=allow_failure, parallel=parallel)
    return [
        make_check(
            package.step(verb),
            check_command.command,
            depends_on(package),
            test_run=check_command.test_run,
        )
        if check_command.runs
        else skipped(
            check_name,
            package.step(verb),
            check_command.command,
            f"{check_command.reason} {check_command.place}",
            absent=check_command.absent or check_command.placeholder,
        )
        for package, check_command in commands
        if package.directory != "." or not check_command.absent
    ]


def _listed(places: list[str]) -> str:
    listed = ", ".join(places[:4])
    return listed if len(places) <= 4 else f"{listed} and {len(places) - 4} more"
