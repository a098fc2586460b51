"""Plans the checks of a Node project: what ``trpc`` and ``npm`` share."""

from collections.abc import Callable, Iterable
from functools import partial

from revalid.jobs.job import StrategyName
from revalid.worker.strategies.node.builds import Builds
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.project import CheckCommand, NodeProject
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.plan import Plan, PlannedStep, check, skipped
from revalid.worker.strategies.project_tree import ProjectTree

Needs = Callable[[Package], tuple[str, ...]]


def node_plan(
    strategy: StrategyName,
    tree: ProjectTree,
    groups: tuple[Group, ...],
    reason: str,
    *,
    type_scripts: tuple[str, ...] = (),
    lint: bool = False,
) -> Plan:
    """The plan of a project with at least one group.

    Args:
        type_scripts: Scripts that stand for the type check where a package has one.
        lint: Run a ``lint`` script, whose outcome is shown and does not decide.

    Raises:
        InvalidProject: A file that decides cannot be read.
    """
    project = NodeProject(tree, groups)
    installs = project.installs
    builds = Builds(project)
    steps = [*installs.steps, *_builds(project, builds), *_types(project, type_scripts, builds)]
    if lint:
        steps += _scripts(project, "lint", builds, allow_failure=True)
    steps += _scripts(project, "test", builds)
    return Plan(strategy, reason, tuple(steps), installs.tools, installs.notes)


def _builds(project: NodeProject, builds: Builds) -> list[PlannedStep]:
    every = project.installs.every
    root = project.root
    if root and (attempt := project.script(root, "build")).runs:
        builds.steps = dict.fromkeys((p.directory for p in project.packages), "build")
        return [check("build", attempt.command, every, parallel=False)]

    def needs(package: Package) -> tuple[str, ...]:
        waits = builds.needed_by([package])
        builds.steps[package.directory] = package.step("build")
        return every + waits

    packages = builds.in_order()
    return _each("build", packages, lambda p: project.script(p, "build"), needs, parallel=False)


def _types(project: NodeProject, scripts: tuple[str, ...], builds: Builds) -> list[PlannedStep]:
    every = project.installs.every
    root = project.root
    if root and scripts and (attempt := project.script(root, *scripts)).runs:
        return [check("typecheck", attempt.command, every + builds.needed_by(project.packages))]

    def attempted(package: Package) -> CheckCommand:
        script = project.script(package, *scripts) if scripts else None
        return script if script and script.runs else project.types(package)

    return _each("typecheck", project.packages, attempted, lambda p: every + builds.needed_by([p]))


def _scripts(
    project: NodeProject, name: str, builds: Builds, *, allow_failure: bool = False
) -> list[PlannedStep]:
    root = project.root
    if root and (attempt := project.script(root, name)).runs:
        needs = project.installs.every + builds.needed_by(project.packages)
        return [check(name, attempt.command, needs, allow_failure=allow_failure)]
    return _each(
        name,
        project.packages,
        lambda package: project.script(package, name),
        lambda package: project.install_of(package) + builds.needed_by([package]),
        allow_failure=allow_failure,
    )


def _each(
    verb: str,
    packages: Iterable[Package],
    attempted: Callable[[Package], CheckCommand],
    needs: Needs,
    *,
    allow_failure: bool = False,
    parallel: bool = True,
) -> list[PlannedStep]:
    """A step for each package, or one skipped step where none can run."""
    attempts = [(package, attempted(package)) for package in packages]
    if not any(attempt.runs for _, attempt in attempts):
        where: dict[str, list[str]] = {}
        for _, attempt in attempts:
            where.setdefault(attempt.reason, []).append(attempt.place)
        reasons = (f"{reason} {_listed(places)}" for reason, places in where.items())
        return [skipped(verb, attempts[0][1].command, "; ".join(reasons))]
    kind = partial(check, allow_failure=allow_failure, parallel=parallel)
    return [
        kind(package.step(verb), attempt.command, needs(package))
        if attempt.runs
        else skipped(package.step(verb), attempt.command, f"{attempt.reason} {attempt.place}")
        for package, attempt in attempts
        if package.directory != "." or not attempt.absent
    ]


def _listed(places: list[str]) -> str:
    shown = ", ".join(places[:4])
    return shown if len(places) <= 4 else f"{shown} and {len(places) - 4} more"
