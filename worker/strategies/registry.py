"""Finds the strategies: those of this package, and those that plug-ins add."""

import functools
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from revalid.jobs.errors import InvalidProject, RevalidError, StrategyBroken
from revalid.jobs.images import BUILT_IN
from revalid.jobs.job import PLUG_IN, StrategyName
from revalid.worker.strategies import dockerfile, static
from revalid.worker.strategies.deno import DENO
from revalid.worker.strategies.dotnet import DOTNET
from revalid.worker.strategies.go import GO
from revalid.worker.strategies.java import JAVA
from revalid.worker.strategies.node import npm, trpc
from revalid.worker.strategies.php import PHP
from revalid.worker.strategies.plan import Plan, PlannedStep
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python import checks as python
from revalid.worker.strategies.ruby import RUBY
from revalid.worker.strategies.rust import RUST
from revalid.worker.strategies.strategy import Strategy

ENTRY_POINTS = "revalid.strategies"
LANGUAGES: dict[str, Strategy] = {
    StrategyName.PHP: PHP,
    StrategyName.RUBY: RUBY,
    StrategyName.GO: GO,
    StrategyName.JAVA: JAVA,
    StrategyName.DOTNET: DOTNET,
    StrategyName.RUST: RUST,
    StrategyName.DENO: DENO,
    StrategyName.TRPC: trpc,
    StrategyName.NPM: npm,
    StrategyName.PYTHON: python,
}
"""Our strategies, in the order in which their images are taken."""
FALLBACKS: dict[str, Strategy] = {
    StrategyName.STATIC: static,
    StrategyName.DOCKERFILE: dockerfile,
}
"""Strategies for a project that no other one fits; the first that fits is taken."""


@dataclass(frozen=True, slots=True)
class PlugIn:
    """A strategy of an installed package; whatever goes wrong in it is our failure."""

    entry_point: EntryPoint

    @property
    def manifests(self) -> tuple[str, ...]:
        """As :attr:`Strategy.manifests`."""
        return tuple(map(str, self._get("manifests")))

    def fits(self, tree: ProjectTree) -> bool:
        """As :meth:`Strategy.fits`."""
        return bool(self._call("fits", tree))

    def plan(self, tree: ProjectTree) -> Plan:
        """As :meth:`Strategy.plan`.

        Raises:
            StrategyBroken: It returns something else than a plan that can run.
        """
        plan = self._call("plan", tree)
        if not isinstance(plan, Plan) or not all(isinstance(s, PlannedStep) for s in plan.steps):
            raise self._broken(f"plan() returned {type(plan).__name__}, not a Plan of PlannedStep")
        if plan.runtime is not None and plan.runtime.language not in BUILT_IN:
            raise self._broken(f"plan() asks for {plan.runtime.language!r}, and no image is of it")
        return replace(plan, strategy=self.entry_point.name)

    def check(self) -> None:
        """Load the plug-in.

        Raises:
            StrategyBroken: It cannot be loaded, or is no strategy.
        """
        for name in ("manifests", "fits", "plan"):
            self._get(name)
        self.manifests  # noqa: B018 - it is read

    @property
    def package(self) -> str:
        """The name and version of the package that adds the plug-in."""
        distribution = self.entry_point.dist
        return (
            f"{distribution.name} {distribution.version}" if distribution else "an unknown package"
        )

    def _call(self, method: str, tree: ProjectTree) -> Any:
        function = self._get(method)
        try:
            return function(tree)
        except RevalidError:
            raise
        except Exception as error:
            raise self._broken(f"{method}() raised {type(error).__name__}: {error}") from error

    def _get(self, name: str) -> Any:
        try:
            return getattr(self.entry_point.load(), name)
        except (Exception, SystemExit) as error:  # importing it runs its code
            raise self._broken(f"{type(error).__name__}: {error}") from error

    def _broken(self, problem: str) -> StrategyBroken:
        return StrategyBroken(
            f"strategy {self.entry_point.name} of {self.package} is broken: {problem[:300]}; "
            "mend it or uninstall it on the worker"
        )


@functools.cache
def plug_ins() -> dict[str, PlugIn]:
    """Return the strategies of installed packages, by name.

    Raises:
        StrategyBroken: A name is not that of a plug-in, or two packages use it.
    """
    found: dict[str, PlugIn] = {}
    for entry_point in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        plug_in = PlugIn(entry_point)
        if not PLUG_IN.match(entry_point.name):
            raise plug_in._broken("its name needs a hyphen, such as 'acme-elixir'")
        if (other := found.setdefault(entry_point.name, plug_in)) is not plug_in:
            raise plug_in._broken(f"{other.package} has a strategy of this name too")
    return found


def strategy_named(name: str) -> Strategy:
    """Return the strategy that a job names.

    Raises:
        InvalidProject: There is none of that name.
        StrategyBroken: As :func:`plug_ins`.
    """
    ours = {**LANGUAGES, **FALLBACKS}
    if name in ours:
        return ours[name]
    if name not in plug_ins():
        raise InvalidProject(
            f"no strategy {name} on this worker; its plug-ins: {', '.join(plug_ins()) or 'none'}; "
            "install the package that adds it there"
        )
    return plug_ins()[name]


def fitting(tree: ProjectTree) -> list[Strategy]:
    """Return every strategy that a project asks for, the one that chooses the image first.

    Raises:
        InvalidProject: A manifest cannot be read.
        StrategyBroken: A plug-in failed.
    """
    found = [s for s in (*LANGUAGES.values(), *plug_ins().values()) if s.fits(tree)]
    if not found:
        return [s for s in FALLBACKS.values() if s.fits(tree)][:1]
    in_parts = [
        strategy
        for strategy in found
        if strategy not in (trpc, npm, python)
        and "." not in tree.directories_with(*strategy.manifests)
    ]
    return [*(s for s in found if s not in in_parts), *in_parts]
