"""Plans of Python projects."""

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from tests.worker.strategies.conftest import Files, PlanOf, commands, skips, steps_by_name

VENV = "python3 -m venv --clear .venv && "
TEST = "def test_a(): pass\n"
PIP = ".venv/bin/pip install"
PROJECT = '[build-system]\nrequires = ["hatchling"]\n[project]\nname = "x"\n'
EXTRAS = '[project.optional-dependencies]\ntest = ["pytest"]\ndocs = ["sphinx"]\n'
GROUPS = '[dependency-groups]\ndev = ["pytest"]\ndocs = ["sphinx"]\n'
POETRY = "[tool.poetry]\nname = 'x'\n[tool.poetry.group.dev.dependencies]\npytest = '*'\n"


@pytest.mark.parametrize(
    ("files", "install"),
    [
        ({"requirements.txt": "six"}, f"{PIP} -r requirements.txt"),
        (
            {"requirements.txt": "", "requirements-dev.txt": "", "pyproject.toml": "[tool.x]"},
            f"{PIP} -r requirements.txt -r requirements-dev.txt",
        ),
        (
            {"requirements.txt": "", "pyproject.toml": '[project]\nname = "x"'},
            f"{PIP} -r requirements.txt",
        ),
        ({"requirements.txt": "", "pyproject.toml": PROJECT}, f"{PIP} -r requirements.txt ."),
        ({"setup.py": ""}, f"{PIP} ."),
        ({"pyproject.toml": PROJECT + EXTRAS}, f"{PIP} '.[test]'"),
        (
            {"pyproject.toml": PROJECT + GROUPS},
            f"{PIP} --upgrade 'pip>=25.1' && {PIP} . --group dev",
        ),
        (
            {"pyproject.toml": PROJECT + EXTRAS + GROUPS, "uv.lock": ""},
            f"{PIP} uv && .venv/bin/uv sync --locked --inexact --extra test --group dev",
        ),
        (
            {"pyproject.toml": POETRY},
            "python3 -m venv --clear .poetry && .poetry/bin/pip install poetry && "
            ". .venv/bin/activate && .poetry/bin/poetry install --no-interaction --with dev",
        ),
    ],
)
def test_the_install_follows_the_lockfile_then_the_manifest(
    plan_of: PlanOf, files: Files, install: str
) -> None:
    assert commands(plan_of(files))["install"] == VENV + install


def test_a_project_with_only_settings_installs_nothing(plan_of: PlanOf) -> None:
    plan = plan_of({"pyproject.toml": "[tool.ruff]"})
    assert commands(plan)["install"] == "python3 -m venv --clear .venv"


def test_tests_add_pytest_to_the_install(plan_of: PlanOf) -> None:
    plan = plan_of({"requirements.txt": "pytest-cov\n", "tests/test_a.py": TEST})
    assert commands(plan)["install"].endswith(f"{PIP} -r requirements.txt && {PIP} pytest")
    assert commands(plan)["test"] == ".venv/bin/python -m pytest"
    assert steps_by_name(plan)["test"].depends_on == ("install",)
    assert "pytest is not declared: installed its latest version" in plan.notes


@pytest.mark.parametrize("text", ["", "def load_test(): pass\n", "import locust\n"])
def test_a_file_without_tests_is_no_test_file(plan_of: PlanOf, text: str) -> None:
    step = steps_by_name(plan_of({"setup.py": "", "load_test.py": text}))["test"]
    assert step.skipped_reason == "no test_*.py or *_test.py"
    assert step.absent


def test_a_declared_pytest_needs_no_note(plan_of: PlanOf) -> None:
    plan = plan_of({"requirements.txt": "pytest>=8\n", "tests/test_a.py": TEST})
    assert not any("declared" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"pyproject.toml": "[tool.mypy]"}, ".venv/bin/python -m mypy ."),
        ({"pyproject.toml": "[tool.mypy]\nfiles = 'src'"}, ".venv/bin/python -m mypy"),
        ({"mypy.ini": "[mypy]\npackages=a"}, ".venv/bin/python -m mypy"),
        ({"setup.cfg": "[metadata]\n[mypy]\n"}, ".venv/bin/python -m mypy ."),
    ],
)
def test_mypy_runs_where_it_is_configured(plan_of: PlanOf, files: Files, command: str) -> None:
    assert commands(plan_of({"setup.py": "", **files}))["typecheck"] == command


def test_missing_checks_are_skipped(plan_of: PlanOf) -> None:
    files = {"setup.py": "", "setup.cfg": "[x]", "venv/lib/site-packages/a/test_a.py": TEST}
    plan = plan_of(files)
    assert skips(plan) == {
        "typecheck": "mypy is not configured",
        "test": "no test_*.py or *_test.py",
    }
    assert commands(plan).keys() == {"compile", "install"}


@pytest.mark.parametrize(
    ("files", "cacheable"),
    [
        ({"pyproject.toml": PROJECT}, False),
        ({"pyproject.toml": PROJECT, "uv.lock": ""}, True),
        ({"pyproject.toml": POETRY, "poetry.lock": ""}, True),
        ({"pyproject.toml": PROJECT, "uv.lock": "", "test_a.py": TEST}, False),
    ],
)
def test_only_a_locked_install_is_cacheable(plan_of: PlanOf, files: Files, cacheable: bool) -> None:
    plan = plan_of(files)
    install = steps_by_name(plan)["install"]
    assert (install.install, install.cacheable, install.inputs) == (True, cacheable, None)
    unlocked = "no lockfile: versions may differ between runs" in plan.notes
    assert unlocked is not any(name.endswith(".lock") for name in files)


def test_the_image_must_have_python(plan_of: PlanOf) -> None:
    note = "image node:20-alpine3.22 must have python3: name another with --image"
    assert note in plan_of({"setup.py": ""}).notes
    assert note not in plan_of({"setup.py": ""}, image="python:3.12-slim").notes


def test_a_malformed_pyproject_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"pyproject.toml is not TOML"):
        plan_of({"pyproject.toml": "project ="})


def test_without_a_manifest_it_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"strategy python needs one of pyproject.toml"):
        plan_of({"a.py": ""}, StrategyName.PYTHON)
