"""Chooses the image of a job that names none, by the versions that its project asks for."""

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from revalid.jobs.job import DEFAULT_IMAGE, Job, StrategyName
from revalid.worker.strategies.plan import Plan
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.requirements import table

NODE = {
    "20": DEFAULT_IMAGE,
    "22": "node:22-alpine3.22",
    "24": "node:24-alpine3.22",
    "18": "node:18-alpine3.21",
}
PYTHON = {
    "3.12": "python:3.12-slim",
    "3.13": "python:3.13-slim",
    "3.11": "python:3.11-slim",
    "3.14": "python:3.14-slim",
    "3.10": "python:3.10-slim",
}
"""Images by version; the first one that fits the project is taken."""

_PYTHON_MANIFESTS = ("pyproject.toml", "setup.py", "requirements.txt")
_MINOR = 20  # of a candidate: any major release that is kept has had so many minor ones
_COMPARATOR = re.compile(r"(\^|~|>=|<=|>|<|=)? ?v?(\d{1,4})(?:\.(\d{1,4}|x|\*))?[\w.*-]{0,40}\Z")
_LTS = {"iron": "20", "jod": "22", "krypton": "24", "hydrogen": "18"}
_VERSION = re.compile(r"(?:python-?)?(\d)\.(\d{1,2})")


def choose_image(job: Job, tree: ProjectTree, plan: Plan) -> tuple[str, str]:
    """Return the image of a job, and a note that says why; empty if there is nothing to say.

    An image that the job or the operator names is taken as it is.
    """
    if job.source is None:
        return job.image, ""
    wanted_node, node_from = _node_version(tree)
    if job.image != DEFAULT_IMAGE or plan.strategy is StrategyName.TRAJECTORY:
        return job.image, _contradiction(job.image, wanted_node, node_from)
    if "package.json" in tree.files or plan.strategy in (StrategyName.NPM, StrategyName.TRPC):
        return _fitting_node(wanted_node, node_from) if wanted_node else (job.image, "")
    if plan.strategy is StrategyName.PYTHON or not tree.files.isdisjoint(_PYTHON_MANIFESTS):
        return _fitting_python(*_python_version(tree))
    return job.image, ""


def _fitting_node(wanted: str, source: str) -> tuple[str, str]:
    image = next((image for v, image in NODE.items() if _fits_node(v, wanted)), None)
    if image is None:
        return (
            DEFAULT_IMAGE,
            f"no known image fits node {wanted} of {source}: took {DEFAULT_IMAGE}",
        )
    if image == DEFAULT_IMAGE:
        return image, ""
    return image, f"image {image}, for {source} asks for node {wanted}"


def _fitting_python(wanted: str, source: str) -> tuple[str, str]:
    image = next((image for v, image in PYTHON.items() if _fits_python(v, wanted)), None)
    if image is None:
        image = next(iter(PYTHON.values()))
        return image, f"no known image fits Python {wanted} of {source}: took {image}"
    reason = f"{source} asks for Python {wanted}" if wanted else "it is a Python project"
    return image, f"image {image}, for {reason}"


def _contradiction(image: str, wanted: str, source: str) -> str:
    """Return a note where the tag of a Node image does not fit what the project asks for."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    major = re.match(r"\d{1,3}", tag)
    if name.rpartition("/")[2] != "node" or not wanted or major is None:
        return ""
    if _fits_node(major[0], wanted):
        return ""
    return f"{source} asks for node {wanted}, and the image is {image}: name another with --image"


def _node_version(tree: ProjectTree) -> tuple[str, str]:
    """Return the version of Node that a project asks for, and the file that says so."""
    for name in (".nvmrc", ".node-version"):
        if (text := tree.head(name, 100).strip()) and len(text.split()) == 1:
            return text, name
    package = tree.json("package.json") or {}
    for field in ("volta", "engines"):
        wanted = table(package, field).get("node")
        if isinstance(wanted, str) and wanted.strip():
            return wanted.strip()[:100], f"{field} in package.json"
    return "", ""


def _fits_node(major: str, wanted: str) -> bool:
    text = wanted.lower()
    if text.startswith("lts/"):
        return _LTS.get(text[4:], major) == major
    return any(_fits_all(int(major), part) for part in text.split("||"))


def _fits_all(major: int, comparators: str) -> bool:
    joined = re.sub(r"(\^|~|>=|<=|>|<|=) {1,5}", r"\1", comparators.strip())
    if " - " in joined:
        low, _, high = joined.partition(" - ")
        joined = f">={low} <={high}"
    words = joined.split()
    return all(_fits_one(major, word) for word in words) if words else True


def _fits_one(major: int, word: str) -> bool:
    if word in ("*", "x", "latest", "node", "stable"):
        return True
    match = _COMPARATOR.match(word)
    if match is None:
        return True
    operator, at = match[1] or "=", int(match[2])
    minor = int(match[3]) if match[3] and match[3].isdigit() else 0
    candidate, bound = (major, _MINOR), (at, minor)
    match operator:
        case ">=" | ">":
            return candidate >= bound
        case "<":
            return candidate < bound
        case "<=":
            return major <= at
        case "^":
            return major == at and minor <= _MINOR
        case _:
            return major == at


def _python_version(tree: ProjectTree) -> tuple[str, str]:
    """Return the versions of Python that a project asks for, and the file that says so."""
    for name in (".python-version", "runtime.txt"):
        if match := _VERSION.match(tree.head(name, 100).strip()):
            return f"=={match[1]}.{match[2]}.*", name
    project = tree.toml("pyproject.toml") or {}
    if isinstance(wanted := table(project, "project").get("requires-python"), str):
        return wanted[:100], "requires-python"
    wanted = table(project, "tool", "poetry", "dependencies").get("python")
    if isinstance(wanted, str) and (match := re.match(r"[\^~>=]{0,2} ?(\d)\.(\d{1,2})", wanted)):
        return f">={match[1]}.{match[2]}", "tool.poetry.dependencies"
    return "", ""


def _fits_python(version: str, wanted: str) -> bool:
    try:
        return SpecifierSet(wanted).contains(f"{version}.99")
    except InvalidSpecifier:
        return True
