"""Reads a directory's ``package.json`` as hostile input."""

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from revalid.jobs.errors import InvalidProject
from revalid.worker.strategies.node.scripts import does_nothing, needs_browser, watches, with_called
from revalid.worker.strategies.plan import cd
from revalid.worker.strategies.project_tree import ProjectTree

HOOKS = frozenset(
    {
        "preinstall",
        "install",
        "postinstall",
        "prepublish",
        "preprepare",
        "prepare",
        "postprepare",
        "pnpm:devPreinstall",
    }
)
"""Scripts that an install runs."""
_MAX_PACKAGES = 200


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a project.

    Attributes:
        directory: Relative to the project; ``.`` for its root.
        data: The manifest.
    """

    directory: str
    data: Mapping[str, Any]

    @property
    def manifest(self) -> str:
        """The path of the manifest."""
        return self.path("package.json")

    @property
    def title(self) -> str:
        """The directory's name in messages."""
        return "the root" if self.directory == "." else self.directory

    @property
    def name(self) -> str | None:
        """The package's name, by which others depend on it."""
        name = self.data.get("name")
        return name if isinstance(name, str) else None

    @property
    def scripts(self) -> dict[str, str]:
        """The scripts that are not empty, by name."""
        return {k: v for k, v in _strings(self.data.get("scripts")).items() if v.strip()}

    @property
    def dependencies(self) -> dict[str, str]:
        """Dependencies of every kind."""
        kinds = ("peer", "optional", "dev", "")
        fields = ((f"{kind}Dependencies" if kind else "dependencies") for kind in kinds)
        return {k: v for field in fields for k, v in _strings(self.data.get(field)).items()}

    @property
    def workspaces(self) -> tuple[str, ...]:
        """Globs of the directories that are installed together with this one."""
        globs = self.data.get("workspaces")
        if isinstance(globs, dict):
            globs = globs.get("packages")
        return tuple(g for g in globs if isinstance(g, str)) if isinstance(globs, list) else ()

    @property
    def entries(self) -> tuple[str, ...]:
        """The files, as project paths, that the manifest offers to those who import it."""
        values = (self.data.get(field) for field in ("exports", "types", "typings", "main"))
        names = (leaf for value in values for leaf in leaves(value))
        return tuple(
            posixpath.normpath(self.path(name))
            for name in names
            if "*" not in name and name.endswith((".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx"))
        )

    def path(self, name: str) -> str:
        """Return the path of ``name`` in this package, relative to the project."""
        return name if self.directory == "." else f"{self.directory}/{name}"

    def step(self, verb: str) -> str:
        """Return the name of this package's step for ``verb``."""
        return verb if self.directory == "." else f"{verb} {self.directory}"

    def within(self, command: str) -> str:
        """Return ``command`` so that it runs in this package's directory."""
        return command if self.directory == "." else f"{cd(self.directory)} && {command}"

    def is_placeholder(self, script: str) -> bool:
        """Return whether a script only stands where a check could be."""
        names = (f"pre{script}", script, f"post{script}")
        return all(does_nothing(self.scripts.get(name, ""), self.scripts) for name in names)

    def runs(self, script: str) -> str:
        """Return the commands of a script and of those that it calls; empty without it."""
        return with_called(self.scripts.get(script, ""), self.scripts)

    def unusable(self, script: str) -> str | None:
        """Return why a script cannot be a check, as words before a path; None if it can."""
        if script not in self.scripts:
            return f"no {script} script in"
        if self.is_placeholder(script):
            return f"only a placeholder for a {script} script in"
        if watches(self.runs(script)):
            return f"the {script} script watches and never ends, in"
        if needs_browser(self.runs(script)):
            return f"the {script} script needs a browser, in"
        return None


def read_package(tree: ProjectTree, directory: str) -> Package | None:
    """Read the package in ``directory``; None if it has no manifest.

    Raises:
        InvalidProject: The manifest is not a JSON object, or the directory's name is unusable.
    """
    manifest = "package.json" if directory == "." else f"{directory}/package.json"
    if manifest not in tree.files:
        return None
    if not directory.isprintable() or len(directory) > 150:
        raise InvalidProject(
            f"package directory {directory[:150]!r}: rename it to at most 150 printable characters"
        )
    data = tree.json(manifest)
    return None if data is None else Package(directory, data)


def readable_packages(tree: ProjectTree) -> Iterator[Package]:
    """Yield every package of a project that can be read, whether it is a part or not."""
    manifests = [path for path in sorted(tree.files) if path.rpartition("/")[2] == "package.json"]
    for path in manifests[:_MAX_PACKAGES]:
        with suppress(InvalidProject):  # a strategy that needs it says so
            if package := read_package(tree, path.rpartition("/")[0] or "."):
                yield package


def leaves(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, at any depth."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _strings(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: item for key, item in value.items() if isinstance(item, str)}
