"""What a strategy is, and how one plans the parts of a project that are in its language."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from revalid.jobs.errors import InvalidProject
from revalid.worker.strategies.parts import not_covered, split_parts
from revalid.worker.strategies.plan import Plan, within
from revalid.worker.strategies.project_tree import ProjectTree


class Strategy(Protocol):
    """Plans the steps that validate one kind of project.

    A strategy is asked about every project of ``auto``. It must be quick, run nothing and read the
    project through the tree alone, for its content is hostile.
    """

    @property
    def manifests(self) -> tuple[str, ...]:
        """Names of the files that such a project has: ``mix.exs``, or ``*.csproj``."""
        ...

    def fits(self, tree: ProjectTree) -> bool:
        """Return whether the project, or a part of it, is of this kind.

        Raises:
            InvalidProject: A manifest cannot be read.
        """
        ...

    def plan(self, tree: ProjectTree) -> Plan:
        """Plan the steps of a project; they run from its root.

        Raises:
            InvalidProject: The project is not of this kind, or a manifest cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Language:
    """The strategy of a language whose parts are the directories with a manifest.

    Attributes:
        name: The strategy's name.
        manifests: As :attr:`Strategy.manifests`.
        plan_part: Plans a directory with a manifest, given as a tree of its own.
        covers_below: Whether the checks of the root stand for the manifests below it.
    """

    name: str
    manifests: tuple[str, ...]
    plan_part: Callable[[ProjectTree], Plan]
    covers_below: Callable[[ProjectTree], bool] = lambda tree: False

    def fits(self, tree: ProjectTree) -> bool:
        """As :meth:`Strategy.fits`."""
        return bool(self._parts(tree)[0])

    def plan(self, tree: ProjectTree) -> Plan:
        """As :meth:`Strategy.plan`."""
        directories, others = self._parts(tree)
        if not directories:
            raise InvalidProject(
                f"strategy {self.name} needs one of {', '.join(self.manifests)}, at the root or in "
                "a part of the project: add one, or give the commands with --command"
            )
        plans = {directory: self.plan_part(tree.below(directory)) for directory in directories}
        notes = not_covered(others, " or ".join(self.manifests))
        return replace(joined(plans, notes), strategy=self.name)

    def _parts(self, tree: ProjectTree) -> tuple[list[str], list[str]]:
        found = tree.directories_with(*self.manifests)
        if "." not in found:
            return split_parts(found, root_has_checks=False)
        if self.covers_below(tree):
            return ["."], []
        below = (directory for directory in found if directory != ".")
        parts, others = split_parts(below, root_has_checks=True)
        return [".", *parts], others


def joined(plans: Mapping[str, Plan], notes: Iterable[str]) -> Plan:
    """Join the plans of the parts of a project in one language; the image is the first one's.

    Args:
        plans: The plan of each part, by its directory.
        notes: Sentences for the reader of the result besides those of the plans.
    """
    return replace(
        next(iter(plans.values())),
        reason="; ".join(
            plan.reason if directory == "." else f"{directory}: {plan.reason}"
            for directory, plan in plans.items()
        ),
        steps=tuple(within(step, part) for part, plan in plans.items() for step in plan.steps),
        tools=tuple(dict.fromkeys(tool for plan in plans.values() for tool in plan.tools)),
        notes=(*dict.fromkeys(note for plan in plans.values() for note in plan.notes), *notes),
    )
