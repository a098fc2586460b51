"""The checks that a verdict rests on."""

from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator


class CheckName(StrEnum):
    """What a step proves about a project."""

    INSTALL = "install"
    BUILD = "build"
    TYPECHECK = "typecheck"
    LINT = "lint"
    TESTS = "tests"
    START = "start"
    RENDER = "render"
    COMMAND = "command"
    """A command that the job gives."""


ChosenCheck: TypeAlias = Literal["build", "typecheck", "lint", "tests", "start", "render"]
"""A check that a job may skip or require."""


def _sorted(names: tuple[ChosenCheck, ...]) -> tuple[ChosenCheck, ...]:
    return tuple(sorted(set(names)))


ChosenChecks = Annotated[tuple[ChosenCheck, ...], AfterValidator(_sorted)]


def check_choices(
    skip: tuple[ChosenCheck, ...], require: tuple[ChosenCheck, ...], expect_tests: int | None
) -> None:
    """Refuse to skip what must be proven.

    Raises:
        ValueError: A check is skipped and required, or tests are skipped and counted.
    """
    if both := sorted({*skip} & {*require}):
        raise ValueError(f"{both[0]}: skipped and required: keep one of the two")
    if expect_tests is not None and "tests" in skip:
        raise ValueError("expect_tests: the tests are skipped: keep one of the two")
