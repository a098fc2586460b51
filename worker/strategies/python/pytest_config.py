"""Reads where a project's own configuration lets pytest look for tests."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.requirements import read_ini, table

_MAX_PATTERNS = 20
_NAMED = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test|tests?)\.py\Z")
_CODE = re.compile(
    r"^[ \t]*(?:async )?def test|^[ \t]*class (?:\w*Test|\w{1,100}\(.{0,200}TestCase)|>>> ", re.M
)
_DOCTEST = re.compile(r"^[ \t]*>>> ", re.M)
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class PytestConfig:
    """What decides which files pytest collects.

    Attributes:
        testpaths: Directories and globs that it looks into; empty for all.
        norecursedirs: Globs of names of directories that it does not look into.
        python_files: Names of test modules; empty for the usual ones.
        doctests: Whether it runs the examples in docstrings.
    """

    testpaths: tuple[str, ...] = ()
    norecursedirs: tuple[str, ...] = ()
    python_files: tuple[str, ...] = ()
    doctests: bool = False

    def holds_tests(self, tree: ProjectTree, path: str) -> bool:
        """Return whether a file's name and content say that it holds tests."""
        if not path.endswith(".py") or "/site-packages/" in path:
            return False
        name = path.rpartition("/")[2]
        named = any(fnmatchcase(name, pattern) for pattern in self.python_files)
        if named or _NAMED.search(path):
            return _CODE.search(tree.head(path, _HEAD_BYTES)) is not None
        return self.doctests and _DOCTEST.search(tree.head(path, _HEAD_BYTES)) is not None

    @property
    def looks_into_all(self) -> bool:
        """Whether it collects from every directory."""
        return not self.testpaths and not self.norecursedirs

    def looks_into(self, directory: str) -> bool:
        """Return whether it collects what is below a directory."""
        if any(fnmatchcase(n, p) for n in directory.split("/") for p in self.norecursedirs):
            return False
        places = [path.removeprefix("./").partition("*")[0].strip("/") for path in self.testpaths]
        return not places or any(
            p in ("", ".") or f"{directory}/".startswith(f"{p}/") for p in places
        )


def pytest_config(tree: ProjectTree, project: dict[str, Any]) -> PytestConfig:
    """Return the configuration that pytest would take.

    Args:
        project: The parsed ``pyproject.toml``.
    """
    pytest = table(project, "tool", "pytest")
    sections: tuple[Mapping[str, Any] | None, ...] = (
        read_ini(tree, "pytest.ini").get("pytest"),
        read_ini(tree, ".pytest.ini").get("pytest"),
        table(pytest, "ini_options") or pytest,
        read_ini(tree, "tox.ini").get("pytest"),
        read_ini(tree, "setup.cfg").get("tool:pytest"),
    )
    section = next((section for section in sections if section), {})
    return PytestConfig(
        testpaths=_words(section.get("testpaths")),
        norecursedirs=_words(section.get("norecursedirs")),
        python_files=_words(section.get("python_files")),
        doctests="--doctest-modules" in _words(section.get("addopts")),
    )


def _words(value: Any) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
    return tuple(word[:200] for word in words if isinstance(word, str))[:_MAX_PATTERNS]
