"""The configuration that a project carries. It is hostile input: small, bounded, and it can ask for
less than the caller allows, never for more.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from revalid.jobs.checks import ChosenChecks, check_choices
from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import IMAGE, ArtifactGlob, Axis
from revalid.jobs.projects.file_start import read_start
from revalid.jobs.projects.tarball import KEPT
from revalid.jobs.projects.toml import parse_toml
from revalid.jobs.services import KNOWN_KINDS, EnvValue, Service
from revalid.jobs.steps import VARIABLE, Frozen

MAX_BYTES = 65_536
_SHOWN = 40
_PROBLEMS = 4
_RESERVED = re.compile(
    r"(?:(?:REVALID|_?EXPERIMENTAL_DAGGER|DAGGER|DOCKER|OTEL|BAGGAGE|LD|DYLD|GLIBC)_\w*|\w*_PROXY"
    r"|PATH|HOME|TMPDIR|SHELL|IFS|ENV|BASH_ENV|CI)\Z",
    re.IGNORECASE,
)

Image = Annotated[
    str,
    StringConstraints(max_length=512, pattern="^" + IMAGE.pattern.removesuffix(r"\Z") + "$"),
]
_Version = Annotated[
    str,
    BeforeValidator(lambda version: _version(version)),
    StringConstraints(pattern=r"^\d{1,4}(\.\d{1,4})?$"),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
]
_Line = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]


def _version(version: object) -> object:
    """Return a version as text."""
    if isinstance(version, float):
        raise ValueError('put the version in quotes, such as "3.10": without them it is 3.1')
    return str(version) if isinstance(version, int) else version


def _service(service: object) -> object:
    """Return ``postgres`` or ``postgres=IMAGE`` as a service."""
    if not isinstance(service, str):
        return service
    kind, equals, image = service.partition("=")
    return {"kind": kind, **({"image": image} if equals else {})}


class Command(Frozen):
    """A check of the project's own.

    Attributes:
        name: Its name in reports.
        run: The shell line.
    """

    name: Annotated[_Line, StringConstraints(max_length=100)]
    run: str = Field(min_length=1, max_length=10_000, pattern=r"^[^\x00]*$")


class Start(Frozen):
    """How the project's server is started.

    Attributes:
        command: The shell line that becomes the server; the one that was found by default.
        path: The path that it must answer.
        port: The port that it is told to use, as ``PORT``.
    """

    command: str | None = Field(
        default=None, min_length=1, max_length=10_000, pattern=r"^[^\x00]*$"
    )
    path: str | None = Field(default=None, max_length=200, pattern=r"^/[!-~]*$")
    port: int | None = Field(default=None, ge=1, le=65_535, strict=True)


class Matrix(Frozen):
    """The versions or images to run on, one job for each; one of the three."""

    node: tuple[_Version, ...] = Field(default=(), max_length=8)
    python: tuple[_Version, ...] = Field(default=(), max_length=8)
    image: tuple[Image, ...] = Field(default=(), max_length=8)

    @property
    def entries(self) -> list[dict[Axis, str]]:
        """The entry of each job."""
        axes: tuple[Axis, ...] = get_args(Axis)
        return [{axis: value} for axis in axes for value in dict.fromkeys(getattr(self, axis))]

    @model_validator(mode="after")
    def _one_axis(self) -> Self:
        if len({axis for entry in self.entries for axis in entry}) != 1:
            raise ValueError("give one of node, python and image, with at least one value")
        return self


class Configuration(Frozen):
    """What a project asks for.

    Attributes:
        skip: Checks that are not to run. They keep the job from passing.
        require: Checks without whose proof the job does not pass.
        commands: Checks of the project's own, which run after those that were found.
        image: The container image, of one of the repositories in the worker's table.
        services: Services beside the tests; by default those that were found.
        env: Variables of every command; no secrets.
        artifacts: Globs of files to keep.
        expect_tests: Tests that must run at least.
        flaky: Whether a test that passes when it runs again fails its check.
        start: How the server is started.
        matrix: The versions to run on.
    """

    skip: ChosenChecks = ()
    require: ChosenChecks = ()
    commands: tuple[Command, ...] = Field(default=(), max_length=32)
    image: Image | None = None
    services: (
        tuple[
            Annotated[
                Service,
                BeforeValidator(_service),
                WithJsonSchema(
                    {
                        "anyOf": [
                            {
                                "type": "string",
                                "pattern": f"^({'|'.join(KNOWN_KINDS)})(=.+)?$",
                            },
                            {
                                "type": "object",
                                "properties": {
                                    "kind": {"enum": [*KNOWN_KINDS]},
                                    "image": {"type": "string"},
                                },
                                "required": ["kind"],
                                "additionalProperties": False,
                            },
                        ]
                    }
                ),
            ],
            ...,
        ]
        | None
    ) = Field(default=None, max_length=8)
    env: dict[Annotated[str, StringConstraints(max_length=256)], EnvValue] = Field(
        default_factory=dict, max_length=64
    )
    artifacts: tuple[ArtifactGlob, ...] = Field(default=(), max_length=16)
    expect_tests: int | None = Field(default=None, ge=1, le=1_000_000, strict=True)
    flaky: Literal["pass", "fail"] | None = None
    start: Start | None = None
    matrix: Matrix | None = None

    @field_validator("env")
    @classmethod
    def _ordinary_names(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if not VARIABLE.match(name):
                raise ValueError(f"{name[:_SHOWN]!r} is not a variable name")
            if _RESERVED.match(name):
                raise ValueError(f"{name} is for the sandbox and not for a project: remove it")
        return env

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_choices(self.skip, self.require, self.expect_tests)
        names = [command.name for command in self.commands]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"commands: two are named {twice!r}: rename one")
        kinds = [service.kind for service in self.services or ()]
        if double := next((kind for kind in kinds if kinds.count(kind) > 1), None):
            raise ValueError(f"services: {double} is given twice: keep one")
        if outside := [glob for glob in self.artifacts if ".." in glob.split("/")]:
            raise ValueError(f"artifacts {outside[0]!r}: give paths below the project")
        if self.image is not None and self.matrix is not None and self.matrix.image:
            raise ValueError("image and matrix.image: keep one of the two")
        return self


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration, and the file that holds it."""

    file: str
    configuration: Configuration


def read_configuration(read: Callable[[str, int], bytes | None]) -> Configured | None:
    """Return a project's configuration; None if it has none.

    Args:
        read: Returns the start of a file of the project, up to a number of bytes.

    Raises:
        InvalidProject: It is wrong, or there are two; the message names file, line and key.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for file, most in KEPT.items():
        data = read(file, most + 1)
        if data is None or (file != "revalid.toml" and b"revalid" not in data):
            continue
        text = _text(file, data)
        if (value := _section(file, text)) is not None:
            found[file] = text, value
    if len(found) > 1:
        raise InvalidProject(f"the configuration is in {' and in '.join(found)}: keep one")
    for file, (text, value) in found.items():
        return Configured(file, _validated(file, text, value))
    return None


def read_directory(directory: Path) -> Configured | None:
    """Return the configuration in a directory, as :func:`read_configuration`."""
    return read_configuration(lambda name, most: read_start(directory / name, most))


def _text(file: str, data: bytes) -> str:
    if len(data) > KEPT[file]:
        raise InvalidProject(f"{file} is larger than {KEPT[file]} bytes: make it smaller")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidProject(
            f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8"
        ) from None


def _section(file: str, text: str) -> dict[str, Any] | None:
    """Return the part of a file that is for revalid; None if it has none."""
    try:
        value: Any = json.loads(text) if file == "package.json" else parse_toml(text)
        repr(value)
    except RecursionError:
        raise InvalidProject(f"{file}: it is nested too deeply; correct the file") from None
    except ValueError as error:
        language = "JSON" if file == "package.json" else "TOML"
        raise InvalidProject(f"{file} is not {language}: {error}; correct the file") from None
    where = {"pyproject.toml": ("tool", "revalid"), "package.json": ("revalid",)}.get(file, ())
    for name in where:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidProject(f"{file}: {'.'.join(where)} is not a table; write its keys below it")
    if len(repr(value)) > MAX_BYTES:
        raise InvalidProject(f"{file}: {'.'.join(where)} is larger than {MAX_BYTES} bytes")
    return value


def _validated(file: str, text: str, value: dict[str, Any]) -> Configuration:
    try:
        return Configuration.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=True)
        shown = [_described(file, text, problem) for problem in problems[:_PROBLEMS]]
        more = f"; {len(problems) - _PROBLEMS} more" if len(problems) > _PROBLEMS else ""
        raise InvalidProject(f"{'; '.join(shown)}{more}") from None


def _described(file: str, text: str, problem: ErrorDetails) -> str:
    """Return one problem in words: the file, the line, the key and what it takes."""
    path = [str(part)[:_SHOWN] for part in problem["loc"]]
    number = _line_of(file, text, problem["loc"])
    where = f"{file}:{number}" if number else file
    return " ".join(f"{where}: {'.'.join(path)}{': ' if path else ''}{_why(problem)}".split())


def _why(problem: ErrorDetails) -> str:
    kind, given = problem["type"], repr(problem["input"])[:_SHOWN]
    if kind == "extra_forbidden":
        known = _keys(problem["loc"][:-1])
        near = get_close_matches(str(problem["loc"][-1])[:_SHOWN], known, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        return f"no such key: {meant}the keys are {', '.join(known)}"
    if kind in ("literal_error", "enum"):
        expected = problem["ctx"]["expected"]
        known = re.findall(r"'([^']+)'", expected)
        near = get_close_matches(str(problem["input"])[:_SHOWN], known, n=1)
        return f"{given} is none of {expected}" + (f": did you mean {near[0]!r}?" if near else "")
    words = {
        "tuple_type": 'give a list, such as ["..."]',
        "string_type": "give a string in quotes",
        "int_type": "give a whole number",
        "dict_type": "give a table of names and values",
        "model_type": "give a table of keys and values",
        "model_attributes_type": "give a table of keys and values",
        "missing": "it is missing",
        "string_pattern_mismatch": "not in the form that it must have",
    }
    if kind in words:
        return words[kind] + ("" if kind == "missing" else f"; {given} is not right")
    return problem["msg"].removeprefix("Value error, ")


def _keys(path: Sequence[int | str]) -> list[str]:
    """Return the keys of the table at a path."""
    names = [part for part in path if isinstance(part, str)]
    models: dict[str, type[Frozen]] = {
        "commands": Command,
        "start": Start,
        "matrix": Matrix,
        "services": Service,
    }
    return (
        [*models.get(names[0], Configuration).model_fields]
        if names
        else [*Configuration.model_fields]
    )


def _line_of(file: str, text: str, path: Sequence[int | str]) -> int | None:
    """Return the number of the line in which a key stands; None if it cannot be told."""
    names = [part for part in path if isinstance(part, str)]
    start = {"pyproject.toml": "tool.revalid", "package.json": '"revalid"'}.get(file, "")
    lines = text.splitlines()
    at = next((at for at, line in enumerate(lines) if start in line), 0)
    found = None
    for name in names[:2]:
        number = next((n for n in range(at, len(lines)) if _has_key(lines[n], name)), None)
        if number is None:
            break
        at, found = number, number + 1
    return found


def _has_key(line: str, name: str) -> bool:
    """Return whether a line begins with a key or is the header of its table."""
    words = line.strip().lstrip("[{\"' ").removeprefix("tool.revalid.")
    after = words.removeprefix(name).lstrip("\"' ")
    return words.startswith(name) and after[:1] in ("=", ":", "]", ".")
