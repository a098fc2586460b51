"""Requirements of a Python project, from every place where projects name them."""

import time

import pytest

from revalid.worker.strategies.python.requirements import test_requirements as of_tests
from tests.worker.strategies.conftest import Make


@pytest.mark.parametrize(
    "line", ["-r other.txt", "--index-url https://x", "./local", "-e .", "{toxinidir}"]
)
def test_options_and_paths_are_no_requirements(make: Make, line: str) -> None:
    tree = make({"tox.ini": f"[testenv]\ndeps =\n    {line}\n    pytest\n"})
    assert of_tests(tree, {}) == ["pytest"]


def test_a_broken_file_holds_none(make: Make) -> None:
    assert of_tests(make({"tox.ini": "no section\n", "noxfile.py": "session.install("}), {}) == []


def test_defaults_of_many_sections_take_no_time(make: Make) -> None:
    keys = "".join(f"k{number} = 1\n" for number in range(2_000))
    sections = "".join(f"[s{number}]\n" for number in range(4_000))
    tree = make({"tox.ini": f"[DEFAULT]\ndeps = pytest\n{keys}[testenv]\n{sections}"})
    started = time.monotonic()
    assert of_tests(tree, {}) == ["pytest"]
    assert time.monotonic() - started < 5
