"""Requirements of a Python project, from every place where projects name them."""

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
