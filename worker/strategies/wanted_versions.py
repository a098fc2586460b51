"""Finds the versions of Node and Python that a project asks for, and which of ours fit them."""

import re
from contextlib import suppress
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from revalid.jobs.errors import InvalidProject
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.requirements import table

_LENGTH = 100  # characters of a version that are read and shown
_MINOR = 20  # of a candidate: any major release that is kept has had so many minor ones
_MICROS = 40
_COMPARATOR = re.compile(
    r"(\^|~|>=|<=|>|<|=)?v?(\d{1,4})(?:\.(\d{1,4}|x|\*))?(?:\.(?:\d{1,4}|x|\*))?(?:-[\w.]{1,40})?\Z"
)
_ANY = frozenset({"*", "x", "latest", "node", "stable", "current", "lts", "lts/*", "system"})
_LTS = {
    "krypton": 24,
    "jod": 22,
    "iron": 20,
    "hydrogen": 18,
    "gallium": 16,
    "fermium": 14,
    "erbium": 12,
    "dubnium": 10,
    "carbon": 8,
    "boron": 6,
    "argon": 4,
}
_EXACT_NODE = re.compile(r"[=~]?v?\d{1,4}\.\d{1,4}(?:\.\d{1,4})?\Z")
_PYTHON = re.compile(r"(?:c?python-?)?(\d\.\d{1,2})(?:\.\d{1,3})?(?!\d)")
_TOOL = re.compile(r"^(nodejs|node|python)[ \t]{1,20}(\S{1,100})", re.MULTILINE)
_CONDA = re.compile(r"^\s{0,20}-\s{1,8}[\"']?python ?([=<>!~][=<>!~\d.,* ]{0,80})", re.MULTILINE)
_SETUP_CFG = re.compile(r"^python_requires[ \t]{0,20}=[ \t]{0,20}([^\n]{1,100})", re.MULTILINE)
_POETRY = re.compile(
    r"(\^|~|==|>=|<=|>|<|!=)? ?(\d{1,2})(?:\.(\d{1,3}|\*))?((?:\.(?:\d{1,3}|\*))?)\Z"
)


def node_version(tree: ProjectTree) -> tuple[str, str]:
    """Return the version of Node that a project asks for, and where; empty if nothing does."""
    for name in (".nvmrc", ".node-version"):
        if line := _first_line(tree.head(name)):
            return line, name
    if (found := _tool_files(tree, "node"))[0]:
        return found
    package: dict[str, Any] = {}
    with suppress(InvalidProject):  # a strategy that needs it says so
        package = tree.json("package.json") or {}
    for field in ("volta", "engines"):
        wanted = table(package, field).get("node")
        if isinstance(wanted, str) and wanted.strip():
            return wanted.strip()[:_LENGTH], f"{field} in package.json"
    return "", ""


def python_version(tree: ProjectTree) -> tuple[str, str]:
    """Return the versions of Python that a project asks for, and where; empty if nothing does."""
    for name in (".python-version", "runtime.txt"):
        if line := _first_line(tree.head(name)):
            return _pinned(line), name
    pinned, source = _tool_files(tree, "python")
    if pinned:
        return _pinned(pinned), source
    project = _toml(tree, "pyproject.toml")
    if isinstance(wanted := table(project, "project").get("requires-python"), str):
        return wanted[:_LENGTH], "requires-python"
    constraint = table(project, "tool", "poetry", "dependencies").get("python")
    if isinstance(constraint, str):
        return _of_poetry(constraint[:_LENGTH]), "tool.poetry.dependencies"
    if match := _SETUP_CFG.search(tree.head("setup.cfg")):
        return match[1].strip(), "python_requires in setup.cfg"
    requires = table(_toml(tree, "Pipfile"), "requires")
    for field in ("python_full_version", "python_version"):
        if isinstance(version := requires.get(field), str):
            return _pinned(version[:_LENGTH]), "Pipfile"
    for name in ("environment.yml", "environment.yaml"):
        if match := _CONDA.search(tree.head(name)):
            text = match[1].replace(" ", "")
            is_range = text[0] != "=" or text[1:2] == "="
            return text if is_range else _pinned(text[1:]), name
    return "", ""


def fits_node(major: int, wanted: str) -> bool | None:
    """Return whether the newest release of a major version fits; None if that cannot be read."""
    text = wanted.lower().strip()
    if text in _ANY:
        return True
    if text.startswith("lts/"):
        return _LTS[text[4:]] == major if text[4:] in _LTS else None
    answers = [_fits_all(major, part) for part in text.split("||")]
    return True if True in answers else None if None in answers else False


def is_exact_node(wanted: str) -> bool:
    """Return whether a version is narrower than a major one."""
    return _EXACT_NODE.match(wanted) is not None


def fits_python(version: str, wanted: str, *, newest: bool = True) -> bool | None:
    """Return whether a minor version fits; None if that cannot be read.

    Args:
        newest: Whether its newest release must fit; otherwise any release of it.
    """
    try:
        specifiers = SpecifierSet(wanted)
    except InvalidSpecifier:
        return None
    micros = (99,) if newest else range(_MICROS)
    return any(specifiers.contains(f"{version}.{micro}") for micro in micros)


def _first_line(text: str) -> str:
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return next((words[0][:_LENGTH] for words in lines if words), "")


def _tool_files(tree: ProjectTree, tool: str) -> tuple[str, str]:
    for name, version in _TOOL.findall(tree.head(".tool-versions")):
        if name.removesuffix("js") == tool:
            return version, ".tool-versions"
    for path in ("mise.toml", ".mise.toml"):
        value = table(_toml(tree, path), "tools").get(tool)
        value = value[0] if isinstance(value, list) and value else value
        value = value.get("version") if isinstance(value, dict) else value
        if isinstance(value, str | int | float) and str(value).strip():
            return str(value).strip().removeprefix("prefix:")[:_LENGTH], path
    return "", ""


def _toml(tree: ProjectTree, path: str) -> dict[str, Any]:
    with suppress(InvalidProject):  # a strategy that needs it says so
        return tree.toml(path) or {}
    return {}


def _pinned(version: str) -> str:
    """Return the specifier of a version that a file pins; its last part may be another."""
    match = _PYTHON.match(version)
    return f"=={match[1]}.*" if match else version


def _of_poetry(wanted: str) -> str:
    """Return the specifier of a constraint of Poetry; unchanged if it cannot be read."""
    parts = []
    for part in wanted.split(","):
        match = _POETRY.match(part.strip())
        if match is None:
            return wanted
        operator, major, minor, rest = match[1] or "==", match[2], match[3], match[4]
        version = f"{major}.{minor}{rest}" if minor else major
        if operator == "^":
            parts.append(f">={version},<{int(major) + 1}")
        elif operator == "~":
            parts.append(f">={version},=={major}.{minor}.*" if minor else f"=={major}.*")
        elif operator == "==" and not rest and "*" not in version:
            parts.append(f"=={version}.*")
        else:
            parts.append(f"{operator}{version}")
    return ",".join(parts)


def _fits_all(major: int, comparators: str) -> bool | None:
    joined = re.sub(r"(\^|~|>=|<=|>|<|=) {1,5}", r"\1", comparators.strip())
    if " - " in joined:
        low, _, high = joined.partition(" - ")
        joined = f">={low.strip()} <={high.strip()}"
    answers = [_fits_one(major, word) for word in joined.split()]
    return None if None in answers else False not in answers


def _fits_one(major: int, word: str) -> bool | None:
    if word in _ANY:
        return True
    match = _COMPARATOR.match(word)
    if match is None:
        return None
    operator, at = match[1] or "=", int(match[2])
    minor = int(match[3]) if match[3] and match[3].isdigit() else None
    newest = (major, _MINOR)
    match operator:
        case ">=":
            return newest >= (at, minor or 0)
        case ">":
            return major > at if minor is None else newest > (at, minor)
        case "<":
            return newest < (at, minor or 0)
        case "<=":
            return major <= at if minor is None else newest <= (at, minor)
        case "^":
            return major == at and (minor or 0) <= _MINOR
        case _:
            return major == at
