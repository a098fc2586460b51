"""Which builds a check waits for."""

from collections.abc import Iterable

from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.project import NodeProject


class Builds:
    """The build steps of a project.

    Attributes:
        steps: By a package's directory, the step that builds it.
    """

    def __init__(self, project: NodeProject) -> None:
        self.steps: dict[str, str] = {}
        named = {package.name: package for package in project.packages if package.name}
        self._packages = {package.directory: package for package in project.packages}
        self._imports = {
            package.directory: [
                named[name].directory for name in sorted(named.keys() & package.dependencies)
            ]
            for package in project.packages
        }
        self._files = project.files
        self._unbuilt: dict[str, bool] = {}

    def needed_by(self, packages: Iterable[Package]) -> tuple[str, ...]:
        """The builds that some packages import from, directly or not.

        A package is built first only where none of the entries that its manifest names is in the
        project: what comes as source is checked as source.
        """
        pending = [directory for p in packages for directory in self._imports[p.directory]]
        reached: set[str] = set()
        while pending:
            directory = pending.pop()
            if directory not in reached:
                reached.add(directory)
                pending += self._imports[directory]
        waits = (step for d, step in self.steps.items() if d in reached and self._is_unbuilt(d))
        return tuple(dict.fromkeys(waits))

    def _is_unbuilt(self, directory: str) -> bool:
        if directory not in self._unbuilt:
            entries = self._packages[directory].entries
            self._unbuilt[directory] = bool(entries) and self._files.isdisjoint(entries)
        return self._unbuilt[directory]

    def in_order(self) -> list[Package]:
        """The packages, each after those it imports; a cycle is cut where it closes."""
        ordered: dict[str, Package] = {}
        seen: set[str] = set()

        def visit(directory: str) -> None:
            if directory not in seen:
                seen.add(directory)
                for other in self._imports[directory]:
                    visit(other)
                ordered[directory] = self._packages[directory]

        for directory in self._packages:
            visit(directory)
        return list(ordered.values())
