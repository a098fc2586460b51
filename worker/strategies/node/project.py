"""A Node project: its packages, their installs, and the commands that could check them."""

from dataclasses import dataclass

from revalid.worker.strategies.node.install import plan_installs
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.typescript import bases, type_check
from revalid.worker.strategies.node.workspaces import Group
from revalid.worker.strategies.project_tree import ProjectTree


@dataclass(frozen=True, slots=True)
class CheckCommand:
    """A command that could check a package.

    Attributes:
        reason: Why it cannot run, in words that ``place`` completes; empty if it can.
        place: The file or directory that the reason is about.
        absent: Whether the package does not have this check at all.
        placeholder: Whether what it has only stands where the check could be.
    """

    command: str
    reason: str = ""
    place: str = ""
    absent: bool = False
    placeholder: bool = False

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

    def install_of(self, package: Package) -> tuple[str, ...]:
        """Return the names of the install steps that a package depends on."""
        return self.installs.names[self._roots[package.directory].directory]

    def script(self, package: Package, *names: str) -> CheckCommand:
        """Return the command of the first of some scripts that can be a check."""
        manager = self.installs.choices[self._roots[package.directory].directory].manager
        present = [name for name in names if name in package.scripts]
        name = next((n for n in present if package.unusable(n) is None), (*present, *names)[0])
        return CheckCommand(
            package.within(f"{manager.command} run {name}"),
            package.unusable(name) or "",
            package.manifest,
            absent=not present,
            placeholder=all(package.is_placeholder(name) for name in present),
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
