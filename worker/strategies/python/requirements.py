"""Reads the requirements of a Python project from all files that may declare them."""

import re
import shlex
from collections.abc import Iterable, Iterator
from configparser import ConfigParser, Error
from typing import Any

from revalid.worker.strategies.project_tree import ProjectTree

TEST_SETS = ("dev", "develop", "development", "test", "tests", "testing", "ci")
"""Names of extras, groups and requirement files that hold the dependencies of tests."""

_BASE_SETS = ("base", "common", "main", "prod", "production", "requirements")
_FILES = (
    "requirements.txt",
    *(
        name.format(purpose)
        for purpose in TEST_SETS
        for name in ("requirements-{}.txt", "requirements_{}.txt", "{}-requirements.txt")
    ),
)
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}(?:[ \[<>=!~;(@,].{0,300})?\Z")
_NOX_INSTALL = re.compile(r"session\.install\(([^)]{1,2000})\)")
_STRING = re.compile(r"[\"']([^\"'\n]{1,200})[\"']")
_INI_BYTES = 1 << 16
_MAX_REQUIREMENTS = 300


def requirement_files(tree: ProjectTree) -> list[str]:
    """Return the requirement files of the program and of its tests."""
    found = [name for name in _FILES if name in tree.files]
    folder = [f"requirements/{name}.txt" for name in TEST_SETS]
    in_folder = [name for name in folder if name in tree.files]
    if not in_folder and "requirements.txt" not in found:
        folder = [f"requirements/{name}.txt" for name in _BASE_SETS]
        in_folder = [name for name in folder if name in tree.files]
    return found + in_folder


def test_requirements(tree: ProjectTree, project: dict[str, Any]) -> list[str]:
    """Return the requirements of tests that tox, nox, hatch and pdm declare."""
    found = [*_tox(tree), *_nox(tree)]
    for name, environment in table(project, "tool", "hatch", "envs").items():
        if name in ("default", *TEST_SETS, "hatch-test") and isinstance(environment, dict):
            found += _strings(environment.get("dependencies"))
            found += _strings(environment.get("extra-dependencies"))
    for requirements in table(project, "tool", "pdm", "dev-dependencies").values():
        found += _strings(requirements)
    return _usable(found)


def pipfile_requirements(tree: ProjectTree) -> list[str]:
    """Return the packages and development packages of a ``Pipfile``.

    Raises:
        InvalidProject: It does not parse.
    """
    pipfile = tree.toml("Pipfile") or {}
    found = []
    for section in ("packages", "dev-packages"):
        for name, wanted in table(pipfile, section).items():
            version = wanted.get("version") if isinstance(wanted, dict) else wanted
            extras = _strings(wanted.get("extras")) if isinstance(wanted, dict) else []
            chosen = f"{name}[{','.join(extras)}]" if extras else name
            found.append(chosen if version in (None, "*") else f"{chosen}{version}")
    return _usable(found)


def project_requirements(project: dict[str, Any]) -> list[str]:
    """Return the dependencies of ``[project]``, with the extras of tests."""
    found = _strings(table(project, "project").get("dependencies"))
    extras = table(project, "project", "optional-dependencies")
    for name in TEST_SETS:
        found += _strings(extras.get(name))
    return _usable(found)


def quoted(requirements: Iterable[str]) -> str:
    """Return requirements as arguments of a shell command."""
    return " ".join(map(shlex.quote, requirements))


def setup_cfg(tree: ProjectTree) -> dict[str, dict[str, str]]:
    """Return the sections of ``setup.cfg``; empty if it does not parse."""
    return _ini(tree, "setup.cfg")


def table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a nested table of a TOML document; empty if it is missing."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _tox(tree: ProjectTree) -> Iterator[str]:
    for name, section in (("tox.ini", "testenv"), ("setup.cfg", "tox:testenv")):
        for line in _ini(tree, name).get(section, {}).get("deps", "").splitlines():
            factor, colon, wanted = line.partition(":")
            own = wanted if colon and re.fullmatch(r"[\w{},!-]{1,80}", factor.strip()) else line
            yield own.strip()


def _nox(tree: ProjectTree) -> Iterator[str]:
    for call in _NOX_INSTALL.findall(tree.head("noxfile.py", _INI_BYTES)):
        yield from _STRING.findall(call)


def _ini(tree: ProjectTree, name: str) -> dict[str, dict[str, str]]:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(tree.head(name, _INI_BYTES))
    except Error:
        return {}
    return {section: dict(parser[section]) for section in parser.sections()}


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _usable(requirements: Iterable[str]) -> list[str]:
    """Return the requirements that pip takes as such, each once; options and paths are not."""
    words = (requirement.partition(" #")[0].strip() for requirement in requirements)
    return list(dict.fromkeys(w for w in words if _REQUIREMENT.match(w)))[:_MAX_REQUIREMENTS]
