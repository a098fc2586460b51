"""Which files pytest collects by a project's own configuration."""

import pytest

from tests.worker.strategies.conftest import Files, PlanOf, commands, skips

TEST = "def test_a(): pass\n"
EXAMPLE = '"""\n>>> 1\n2\n"""\n'


@pytest.mark.parametrize(
    "files",
    [
        {"check_a.py": TEST, "pytest.ini": "[pytest]\npython_files = check_*.py\n"},
        {"t.py": TEST, "setup.cfg": "[tool:pytest]\npython_files =\n    t.py\n"},
        {"spec_a.py": TEST, "tox.ini": "[pytest]\npython_files = spec_*\n"},
        {
            "check_a.py": TEST,
            "pyproject.toml": "[tool.pytest.ini_options]\npython_files = ['check_*.py']\n",
        },
        {"app.py": EXAMPLE, "pytest.ini": "[pytest]\naddopts = -q --doctest-modules\n"},
        {
            "app.py": EXAMPLE,
            "pyproject.toml": "[tool.pytest.ini_options]\naddopts = ['--doctest-modules']\n",
        },
        {"a/tests.py": "class A(TestCase): pass\n"},
    ],
)
def test_the_project_says_which_files_hold_tests(plan_of: PlanOf, files: Files) -> None:
    assert "test" in commands(plan_of({"requirements.txt": "", **files}))


@pytest.mark.parametrize(
    "files",
    [
        {"check_a.py": TEST},
        {"app.py": EXAMPLE},
        {"test_a.py": "from unittest import TestCase\n"},
        {"app.py": "x = 1\n", "pytest.ini": "[pytest]\naddopts = --doctest-modules\n"},
        {"check_a.py": TEST, "pytest.ini": "[pytest\n"},
    ],
)
def test_other_files_hold_none(plan_of: PlanOf, files: Files) -> None:
    assert "test" in skips(plan_of({"requirements.txt": "", **files}))
