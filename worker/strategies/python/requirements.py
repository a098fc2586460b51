"""Reads the requirements of a Python project from all files that may declare them."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from configparser import ConfigParser, Error
from itertools import pairwise
from typing import Any

from revalid.worker.strategies.project_tree import ProjectTree

TEST_SETS = ("dev", "develop", "development", "test", "tests", "testing", "ci")
"""Names of extras, groups and requirement files that hold the dependencies of tests."""

_BASE_SETS = ("base", "common", "main", "prod", "production", "requirements")
_WORDS = "|".join(TEST_SETS)
_FILE = re.compile(
    rf"(?:(?:requirements?|reqs?)[-_.]?(?:{_WORDS})|(?:{_WORDS})[-_.](?:requirements?|reqs?))\.txt"
)
_EVERYTHING = re.compile(
    r"requirements?(?:[-_.](?:local|all|full)|/(?:requirements?[-_.])?(?:local|all|full))\.txt"
)
"""Files that name the requirements of tests besides others."""
_MAX_FILES = 8
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}(?:[ \[<>=!~;(@,].{0,300})?\Z")
_TOX_FILE = re.compile(r"(?:-r|--requirement)[ =]?(\S{1,200})")
_OWN_EXTRAS = re.compile(r"\.\[([\w,.-]{1,200})\]\Z")
_EXTRA = re.compile(r"[A-Za-z0-9][\w.-]{0,60}\Z")
_DECLARED_EXTRA = re.compile(rf"[\"']({_WORDS})[\"'] ?:")
_TESTS_REQUIRE = re.compile(r"tests_require ?= ?\[([^\]]{1,2000})\]")
_NOX_INSTALL = re.compile(r"session\.install\(([^)]{1,2000})\)")
_STRING = re.compile(r"[\"']([^\"'\n]{1,200})[\"']")
_INI_BYTES = 1 << 16
_MAX_REQUIREMENTS = 300

Sections = Mapping[str, Mapping[str, str]]
"""The sections of an INI file."""


def requirement_files(tree: ProjectTree) -> list[str]:
    """Return the requirement files of the program and of its tests."""
    found = ["requirements.txt"] if "requirements.txt" in tree.files else []
    for_tests = sorted(path for path in tree.files if _is_for_tests(path))
    if not for_tests:
        for_tests = sorted(path for path in tree.files if _EVERYTHING.fullmatch(path))
    if not for_tests and not found:
        folder = [f"requirements/{name}.txt" for name in _BASE_SETS]
        for_tests = [name for name in folder if name in tree.files]
    return found + for_tests[:_MAX_FILES]


def _is_for_tests(path: str) -> bool:
    """Return whether the name of a file says that it holds the requirements of tests."""
    folder, slash, name = path.rpartition("/")
    match folder + slash:
        case "":
            return _FILE.fullmatch(name) is not None
        case "requirements/":
            return name.removesuffix(".txt") in TEST_SETS or _FILE.fullmatch(name) is not None
        case "tests/" | "test/":
            return name == "requirements.txt" or _FILE.fullmatch(name) is not None
    return False


def test_requirements(tree: ProjectTree, project: dict[str, Any]) -> list[str]:
    """Return the requirements of tests that setup.py, tox, nox, hatch and pdm declare."""
    found = [*_tox_lines(tree, project, "deps"), *_tests_require(tree)]
    found += [string for string in _nox(tree) if string not in tree.files]
    for name, environment in table(project, "tool", "hatch", "envs").items():
        if name in ("default", *TEST_SETS, "hatch-test") and isinstance(environment, dict):
            found += _strings(environment.get("dependencies"))
            found += _strings(environment.get("extra-dependencies"))
    for requirements in table(project, "tool", "pdm", "dev-dependencies").values():
        found += _strings(requirements)
    return _usable(found)


def test_files_named(tree: ProjectTree, project: dict[str, Any]) -> list[str]:
    """Return the requirement files that tox and nox name."""
    lines = _tox_lines(tree, project, "deps")
    options = (match[1] for line in lines if (match := _TOX_FILE.match(line)))
    named = [path.replace("{toxinidir}/", "").replace("{tox_root}/", "") for path in options]
    strings = list(_nox(tree))
    named += [path for option, path in pairwise(strings) if option in ("-r", "--requirement")]
    return [path for path in dict.fromkeys(named) if path in tree.files][:_MAX_FILES]


def test_extras(tree: ProjectTree, project: dict[str, Any]) -> list[str]:
    """Return the extras that hold the requirements of tests, besides those of ``[project]``."""
    declared = setup_cfg(tree).get("options.extras_require", {})
    found = [name for name in TEST_SETS if name in declared]
    text = tree.head("setup.py", _INI_BYTES)
    if "extras_require" in text:
        found += _DECLARED_EXTRA.findall(text)
    for line in _tox_lines(tree, project, "extras"):
        found += re.split(r"[\s,]+", line)
    for string in _nox(tree):
        found += match[1].split(",") if (match := _OWN_EXTRAS.match(string)) else []
    return list(dict.fromkeys(name for name in found if _EXTRA.match(name)))


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


def setup_cfg(tree: ProjectTree) -> Sections:
    """Return the sections of ``setup.cfg``; empty if it does not parse."""
    return read_ini(tree, "setup.cfg")


def table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a nested table of a TOML document; empty if it is missing."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _tox_lines(tree: ProjectTree, project: dict[str, Any], key: str) -> list[str]:
    """Return the lines of a setting of tox's test environment, without their conditions."""
    native = (tree.toml("tox.toml") or {}, table(project, "tool", "tox"))
    lines = [item for d in native for item in _strings(table(d, "env_run_base").get(key))]
    legacy = table(project, "tool", "tox").get("legacy_tox_ini")
    sections = (
        read_ini(tree, "tox.ini").get("testenv", {}),
        setup_cfg(tree).get("tox:testenv", {}),
        _parsed_ini(legacy if isinstance(legacy, str) else "").get("testenv", {}),
    )
    for section in sections:
        for line in section.get(key, "").splitlines():
            factor, colon, wanted = line.partition(":")
            own = wanted if colon and re.fullmatch(r"[\w{},!-]{1,80}", factor.strip()) else line
            lines.append(own.strip())
    return lines


def _tests_require(tree: ProjectTree) -> Iterator[str]:
    for listed in _TESTS_REQUIRE.findall(tree.head("setup.py", _INI_BYTES)):
        yield from _STRING.findall(listed)


def _nox(tree: ProjectTree) -> Iterator[str]:
    for call in _NOX_INSTALL.findall(tree.head("noxfile.py", _INI_BYTES)):
        yield from _STRING.findall(call)


def read_ini(tree: ProjectTree, name: str) -> Sections:
    """Return the sections of an INI file; empty if it does not parse."""
    return _parsed_ini(tree.head(name, _INI_BYTES))


def _parsed_ini(text: str) -> Sections:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text[:_INI_BYTES])
    except Error:
        return {}
    # Views: a copy of each would hold the values of [DEFAULT] once for every section.
    return {section: parser[section] for section in parser.sections()}


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _usable(requirements: Iterable[str]) -> list[str]:
    """Return the requirements that pip takes as such, each once; options and paths are not."""
    words = (requirement.partition(" #")[0].strip() for requirement in requirements)
    return list(dict.fromkeys(w for w in words if _REQUIREMENT.match(w)))[:_MAX_REQUIREMENTS]
