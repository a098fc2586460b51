"""Chooses the image of a job that names none, by the versions that its project asks for."""

import re
from collections.abc import Iterable, Mapping

from revalid.jobs.errors import InvalidProject
from revalid.jobs.images import ImageTable, repository
from revalid.jobs.job import DEFAULT_IMAGE, Job, StrategyName
from revalid.jobs.steps import Exec
from revalid.worker.strategies.plan import Plan, Runtime
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.system_tools import needed_system_tool
from revalid.worker.strategies.wanted_versions import (
    fits_node,
    fits_python,
    is_exact_node,
    node_version,
    python_version,
)

_TERM = re.compile(
    r"(<=|>=|!=|~>|[\^~<>=])?v?(\d{1,4}(?:\.\d{1,4}){0,3})(?:\.[*x])?(?:[-@+].{0,40})?\Z"
)
_BETWEEN = re.compile(r"[\s,]{1,9}")
_OR = re.compile(r"\|{1,2}")
_SPACE_AFTER = re.compile(r"(<=|>=|!=|~>|[\^~<>=])[ \t]{1,9}")
_TAG_VERSION = re.compile(r"\d{1,4}(?:\.\d{1,4})?(?=[.-]|\Z)")
_SESSION = "bash, for the session"
_PYTHON_MANIFESTS = ("pyproject.toml", "setup.py", "requirements.txt")


def choose_image(job: Job, tree: ProjectTree, plan: Plan, images: ImageTable) -> tuple[str, str]:
    """Return the image of a job, and a note that says why; empty if there is nothing to say.

    An image that the job or the operator names is taken as it is.

    Raises:
        InvalidProject: The table has no image for an entry of the project's matrix.
    """
    if job.session and job.follows_project and job.source is None:
        image = next(iter(images["node-full"].values()))
        return image, _with_need(image, "", _SESSION)
    if job.source is None:
        return job.image, ""
    if job.matrix:
        return _of_matrix(job, images, tree, plan)
    if not job.follows_project or (plan.strategy == StrategyName.TRAJECTORY and not job.session):
        return job.image, _contradiction(job.image, tree)
    if plan.image:
        return plan.image, f"image {plan.image}, which strategy {plan.strategy} names"
    if plan.runtime is not None:
        return _fitting(images[plan.runtime.language], plan.runtime)
    if plan.strategy == StrategyName.PYTHON:
        return _python_image(job, tree, plan, images)
    if "package.json" in tree.files or plan.strategy in (StrategyName.NPM, StrategyName.TRPC):
        return _node_image(job, tree, plan, images)
    if not tree.files.isdisjoint(_PYTHON_MANIFESTS):
        return _python_image(job, tree, plan, images)
    return _node_image(job, tree, plan, images)


def _node_image(job: Job, tree: ProjectTree, plan: Plan, images: ImageTable) -> tuple[str, str]:
    table, needs = _table(images, "node", job, tree, plan)
    image, note = _fitting_node(table, *node_version(tree))
    return image, _with_need(image, note, needs)


def _python_image(job: Job, tree: ProjectTree, plan: Plan, images: ImageTable) -> tuple[str, str]:
    table, needs = _table(images, "python", job, tree, plan)
    image, note = _fitting_python(table, *python_version(tree))
    return image, _with_need(image, note, needs)


def _with_need(image: str, note: str, needs: str) -> str:
    return f"{note or f'image {image}'}; it has {needs}" if needs else note


def _table(
    images: ImageTable, language: str, job: Job, tree: ProjectTree, plan: Plan
) -> tuple[Mapping[str, str], str]:
    """Return the images of a language, and which system tool the project needs of them."""
    given = plan.steps if plan.strategy == StrategyName.COMMAND else ()
    commands = [planned.step.command for planned in given if isinstance(planned.step, Exec)]
    needs = _SESSION if job.session else needed_system_tool(tree, language, commands)
    return images[f"{language}-full" if needs else language], needs


def _of_matrix(job: Job, images: ImageTable, tree: ProjectTree, plan: Plan) -> tuple[str, str]:
    """Return the image of an entry of the project's matrix.

    Raises:
        InvalidProject: The table has no such image.
    """
    ((axis, value),) = job.matrix.items()
    if axis == "image":
        check_image(value, images, "matrix: image")
        return value, f"image {value} of the matrix"
    table, needs = _table(images, axis, job, tree, plan)
    if value not in table:
        raise InvalidProject(
            f"matrix: no image for {axis} {value}: this worker has {', '.join(table)}"
        )
    note = f"image {table[value]}, for {axis} {value} of the matrix"
    return table[value], _with_need(table[value], note, needs)


def check_image(image: str, images: ImageTable, what: str) -> None:
    """Check that a project may name an image: a program in any other could forge its verdict.

    Raises:
        InvalidProject: No image of this repository is in the table.
    """
    known = {repository(known) for table in images.values() for known in table.values()}
    if repository(image) not in known:
        raise InvalidProject(
            f"{what} {image!r}: a project may name images of {', '.join(sorted(known))} only; "
            "the caller can name others with --image"
        )


def _fitting(images: Mapping[str, str], runtime: Runtime) -> tuple[str, str]:
    wanted = f"{runtime.language} {runtime.wanted} of {runtime.source}"
    answers = {image: fits_version(v, runtime.wanted) for v, image in images.items()}
    image = next((image for image, fits in answers.items() if fits), None)
    if image is None:
        first = next(iter(images.values()))
        return first, _unfit(wanted, first, answers)
    if not runtime.wanted:
        return image, f"image {image}, which has {runtime.language}"
    name, _, tag = image.rpartition(":")
    if runtime.is_exact and tag == next(v for v, known in images.items() if known == image):
        image = f"{name}:{runtime.wanted}"
    return (
        image,
        f"image {image}, for {runtime.source} asks for {runtime.language} {runtime.wanted}",
    )


def fits_version(version: str, wanted: str) -> bool | None:
    """Return whether a release of a version is in a constraint, as Composer and Bundler read it.

    Args:
        version: One or two numbers, such as ``8.2``.
        wanted: A constraint, such as ``^8.1 || ^7.4``; empty for any version.

    Returns:
        None if the constraint cannot be read.
    """
    numbers = _numbers(version)
    joined = _SPACE_AFTER.sub(r"\1", wanted.strip())
    answers = [_fits_terms(numbers, _BETWEEN.split(part.strip())) for part in _OR.split(joined)]
    return True if not joined or True in answers else None if None in answers else False


def _fits_terms(version: tuple[int, ...], terms: Iterable[str]) -> bool | None:
    answers = [_fits_term(version, term) for term in terms]
    return None if None in answers else False not in answers


def _fits_term(version: tuple[int, ...], term: str) -> bool | None:
    match = _TERM.match(term)
    if match is None:
        return True if term == "*" else None
    bound = _numbers(match[2])
    head = bound[: len(version)]
    match match[1] or "=":
        case ">=" | ">":
            return version >= head
        case "<":
            return version < bound
        case "<=":
            return version <= head
        case "^":
            return version >= head and version[0] == bound[0]
        case "~" | "~>":
            same = min(len(version), max(1, len(bound) - 1))
            return version >= head and version[:same] == bound[:same]
        case "=":
            return version[: len(head)] == head
        case _:
            return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _fitting_node(images: Mapping[str, str], wanted: str, source: str) -> tuple[str, str]:
    first = next(iter(images.values()))
    if not wanted:
        return first, "" if first == DEFAULT_IMAGE else f"image {first}, for it is a Node project"
    asks = f"{source} asks for node {wanted}"
    answers = {image: fits_node(int(version), wanted) for version, image in images.items()}
    image = next((image for image, fits in answers.items() if fits), None)
    if image is None:
        return first, _unfit(f"node {wanted} of {source}", first, answers)
    if is_exact_node(wanted):
        return image, f"image {image}, for {asks}; its newest release of that major version runs"
    return image, "" if image == DEFAULT_IMAGE else f"image {image}, for {asks}"


def _fitting_python(images: Mapping[str, str], wanted: str, source: str) -> tuple[str, str]:
    answers = {image: fits_python(version, wanted) for version, image in images.items()}
    image = next((image for image, fits in answers.items() if fits), None)
    reason = f"{source} asks for Python {wanted}" if wanted else "it is a Python project"
    if image is not None:
        return image, f"image {image}, for {reason}"
    for version, narrow in images.items():
        if fits_python(version, wanted, newest=False):
            return narrow, f"image {narrow}, for {reason}; its newest release of {version} runs"
    first = next(iter(images.values()))
    return first, _unfit(f"Python {wanted} of {source}", first, answers)


def _unfit(wanted: str, taken: str, answers: Mapping[str, bool | None]) -> str:
    if None in answers.values():
        return f"{wanted} is no version that revalid can read: took {taken}"
    return f"no known image fits {wanted}: took {taken}"


def _contradiction(image: str, tree: ProjectTree) -> str:
    """Return a note where the tag of an image does not fit what the project asks for."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    language, version = name.rpartition("/")[2], _TAG_VERSION.match(tag)
    if version is None:
        return ""
    if language == "node":
        wanted, source = node_version(tree)
        fits, asked = fits_node(int(version[0].partition(".")[0]), wanted), f"node {wanted}"
    elif language == "python" and "." in version[0]:
        wanted, source = python_version(tree)
        fits, asked = fits_python(version[0], wanted, newest=False), f"Python {wanted}"
    else:
        return ""
    if not wanted or fits is not False:
        return ""
    return f"{source} asks for {asked}, and the image is {image}: name another with --image"
