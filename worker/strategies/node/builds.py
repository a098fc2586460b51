"""Finds the builds that a check depends on."""

from collections.abc import Iterable

from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.project import NodeProject


class Builds:
    """The build steps of a project.

    Attributes:
        steps: The step that builds a package, by the package's directory.
    """

    def __init__(self, project: NodeProject) -> None:
        self.steps: dict[str, str] = {}
        by_name = {package.name: package for package in project.packages if package.name}
        self._packages = {package.directory: package for package in project.packages}
        self._imports = {
            package.directory: [
                by_name[name].directory for name in sorted(by_name.keys() & package.dependencies)
            ]
            for package in project.packages
        }
        self._files = project.files
        self._unbuilt: dict[str, bool] = {}
        self._reached: dict[str, set[str]] = {}

    def needed_by(self, packages: Iterable[Package]) -> tuple[str, ...]:
        """Return the build steps that some packages depend on, directly or indirectly.

        A package is built first only if none of its manifest's entries is in the project: a package
        that comes as source is checked as source.
        """
        reached: set[str] = set()
        for package in packages:
            reached |= self._reached_from(package.directory)
        builds = (
            step
            for directory, step in self.steps.items()
            if directory in reached and self._is_unbuilt(directory)
        )
        return tuple(dict.fromkeys(builds))

    def _reached_from(self, directory: str) -> set[str]:
        if directory not in self._reached:
            reached: set[str] = set()
            pending = [directory]
            while pending:
                new = set(self._imports[pending.pop()]) - reached
                reached |= new
                pending += new
            self._reached[directory] = reached
        return self._reached[directory]

    def _is_unbuilt(self, directory: str) -> bool:
        if directory not in self._unbuilt:
            entries = self._packages[directory].entries
            self._unbuilt[directory] = bool(entries) and self._files.isdisjoint(entries)
        return self._unbuilt[directory]

    def in_order(self) -> list[Package]:
        """Return the packages, each after the ones that it imports; a cycle starts anywhere."""
        ordered: dict[str, Package] = {}
        visited: set[str] = set()

        def visit(directory: str) -> None:
            if directory not in visited:
                visited.add(directory)
                for other in self._imports[directory]:
                    visit(other)
                ordered[directory] = self._packages[directory]

        for directory in self._packages:
            visit(directory)
        return list(ordered.values())
