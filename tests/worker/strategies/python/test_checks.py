"""Plans of Python projects."""

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from tests.worker.strategies.conftest import Files, PlanOf, commands, skips, steps_by_name

VENV = "python3 -I -m venv --clear .venv && "
BUILD = "${TMPDIR:-/tmp}/revalid-build"
COPY = f'rm -rf "{BUILD}" && cp -R . "{BUILD}" && '
TEST = "def test_a(): pass\n"
PIP = ".venv/bin/pip install"
PROJECT = '[build-system]\nrequires = ["hatchling"]\n[project]\nname = "x"\n'
EXTRAS = '[project.optional-dependencies]\ntest = ["pytest"]\ndocs = ["sphinx"]\n'
GROUPS = '[dependency-groups]\ndev = ["pytest"]\ndocs = ["sphinx"]\n'
APPLICATION = (
    '[project]\nname = "x"\ndependencies = ["six>=1", "-e .", "./local"]\n'
    '[project.optional-dependencies]\ntest = ["pytest"]\n'
)
PIPFILE = "[packages]\nsix = '*'\n[dev-packages.requests]\nversion = '==2.32'\nextras = ['socks']\n"
TOX = "[testenv]\ndeps =\n    pytest\n    py3: pytest-mock\n    -r more.txt\n"
LEGACY_TOX = '[tool.tox]\nlegacy_tox_ini = """\n[testenv]\ndeps = mock\n"""\n'
HATCH = '[tool.hatch.envs.default]\ndependencies = ["hypothesis"]\n'
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
        (
            {"requirements.txt": "", "pyproject.toml": PROJECT},
            f'{PIP} -r requirements.txt "{BUILD}"',
        ),
        ({"setup.py": ""}, f'{PIP} "{BUILD}"'),
        ({"pyproject.toml": APPLICATION}, f"{PIP} 'six>=1' pytest"),
        ({"Pipfile": PIPFILE}, f"{PIP} six 'requests[socks]==2.32'"),
        (
            {"requirements/base.txt": "", "requirements/dev.txt": ""},
            f"{PIP} -r requirements/dev.txt",
        ),
        ({"requirements/base.txt": ""}, f"{PIP} -r requirements/base.txt"),
        (
            {"pyproject.toml": PROJECT, "tox.ini": TOX},
            f'{PIP} "{BUILD}" pytest pytest-mock',
        ),
        (
            {"setup.py": "", "noxfile.py": 'session.install("-e", ".", "pytest>=8")'},
            f"{PIP} \"{BUILD}\" 'pytest>=8'",
        ),
        ({"pyproject.toml": PROJECT + HATCH}, f'{PIP} "{BUILD}" hypothesis'),
        ({"pyproject.toml": PROJECT + EXTRAS}, f"{PIP} \"{BUILD}\"'[test]'"),
        (
            {"pyproject.toml": PROJECT + GROUPS},
            f"{PIP} --upgrade 'pip>=25.1' && {PIP} \"{BUILD}\" --group dev",
        ),
        (
            {"pyproject.toml": PROJECT + EXTRAS + GROUPS, "uv.lock": ""},
            f"{PIP} uv && .venv/bin/uv sync --locked --inexact --extra test --group dev",
        ),
        (
            {"pyproject.toml": POETRY},
            "python3 -I -m venv --clear .poetry && .poetry/bin/pip install poetry && "
            ". .venv/bin/activate && "
            ".poetry/bin/poetry install --no-interaction --no-root --with dev",
        ),
    ],
)
def test_the_install_follows_the_lockfile_then_the_manifest(
    plan_of: PlanOf, files: Files, install: str
) -> None:
    copy = COPY if BUILD in install else ""
    assert commands(plan_of(files))["install"] == copy + VENV + install


@pytest.mark.parametrize(
    "path",
    [
        *("requirements-dev.txt", "dev-requirements.txt", "requirements_test.txt"),
        *("requirements.dev.txt", "test_requirements.txt", "requirements-tests.txt"),
        *("requirements/test.txt", "requirements/dev-requirements.txt", "tests/requirements.txt"),
        *("requirements-local.txt", "requirements/local.txt", "requirements-all.txt"),
    ],
)
def test_requirements_of_tests_have_many_names(plan_of: PlanOf, path: str) -> None:
    plan = plan_of({"requirements.txt": "", path: "", "requirements-docs.txt": ""})
    assert commands(plan)["install"] == f"{VENV}{PIP} -r requirements.txt -r {path}"


def test_a_file_of_everything_is_taken_where_none_is_for_tests(plan_of: PlanOf) -> None:
    plan = plan_of({"requirements/local.txt": "", "requirements/dev.txt": ""})
    assert commands(plan)["install"] == f"{VENV}{PIP} -r requirements/dev.txt"


@pytest.mark.parametrize(
    ("files", "ending"),
    [
        ({"setup.py": "setup(extras_require={'dev': ['x'], 'docs': []})"}, "\"'[dev]'"),
        ({"setup.py": "setup(tests_require=['pytest-mock'])"}, '" pytest-mock'),
        (
            {"setup.py": "", "tox.ini": "[testenv]\ndeps = -r ci/x.txt\n", "ci/x.txt": ""},
            f'-r ci/x.txt "{BUILD}"',
        ),
        ({"setup.py": "", "tox.ini": "[testenv]\nextras = qa\n"}, "\"'[qa]'"),
        ({"setup.py": "", "tox.toml": '[env_run_base]\ndeps = ["mock"]\n'}, '" mock'),
        ({"setup.py": "", "pyproject.toml": LEGACY_TOX}, '" mock'),
        ({"setup.py": "", "noxfile.py": 'session.install("-e", ".[tests]")'}, "\"'[tests]'"),
        (
            {"setup.py": "", "noxfile.py": 'session.install("-r", "x.txt")', "x.txt": ""},
            f'-r x.txt "{BUILD}"',
        ),
    ],
)
def test_requirements_of_tests_are_found_where_projects_say_them(
    plan_of: PlanOf, files: Files, ending: str
) -> None:
    assert commands(plan_of(files))["install"].endswith(ending)


@pytest.mark.parametrize(
    ("lockfile", "ending"),
    [
        ("Pipfile.lock", ".pipenv/bin/pipenv install --dev --deploy"),
        ("pdm.lock", ".pdm/bin/pdm install --check"),
    ],
)
def test_a_lockfile_must_fit_its_manifest(plan_of: PlanOf, lockfile: str, ending: str) -> None:
    manifest = "Pipfile" if lockfile.startswith("Pipfile") else "pyproject.toml"
    plan = plan_of({manifest: "", lockfile: ""})
    assert commands(plan)["install"].endswith(ending)
    assert steps_by_name(plan)["install"].cacheable


def test_an_application_is_installed_by_a_python_that_it_takes(plan_of: PlanOf) -> None:
    install = commands(plan_of({"pyproject.toml": '[project]\nrequires-python = ">=3.99"\n'}))
    assert install["install"].endswith("'>=3.99'")
    assert "requires-python is" in install["install"]


def test_a_part_is_built_in_a_copy_of_the_whole_project(plan_of: PlanOf) -> None:
    install = commands(plan_of({"libs/my lib/setup.py": ""}))["install libs/my lib"]
    assert f'cp -R ../.. "{BUILD}"' in install
    assert install.endswith(f"{PIP} \"{BUILD}\"'/libs/my lib'; }}")


def test_setup_cfg_alone_is_a_package(plan_of: PlanOf) -> None:
    plan = plan_of({"setup.cfg": "[metadata]\nname = x\n"})
    shim = f"echo 'import setuptools; setuptools.setup()' >\"{BUILD}\"/setup.py && "
    assert commands(plan)["install"] == f'{COPY}{shim}{VENV}{PIP} "{BUILD}"'


def test_a_poetry_project_without_a_package_is_not_installed_itself(plan_of: PlanOf) -> None:
    assert "--no-root" in commands(plan_of({"pyproject.toml": POETRY}))["install"]
    with_package = plan_of({"pyproject.toml": POETRY, "x/__init__.py": ""})
    assert "--no-root" not in commands(with_package)["install"]


def test_django_runs_its_own_tests_unless_pytest_is_set_up(plan_of: PlanOf) -> None:
    files = {"requirements.txt": "", "manage.py": "import django", "shop/tests.py": TEST}
    assert commands(plan_of(files))["test"] == ".venv/bin/python manage.py test"
    files["pytest.ini"] = "[pytest]\nDJANGO_SETTINGS_MODULE = a\n"
    assert commands(plan_of(files))["test"] == ".venv/bin/python -m pytest"


def test_django_below_the_root_is_tested_there(plan_of: PlanOf) -> None:
    files: Files = {
        "requirements.txt": "",
        "site/manage.py": "import django",
        "site/a/tests.py": TEST,
    }
    command = "cd site && ../.venv/bin/python manage.py test"
    assert commands(plan_of(files))["test"] == command


def test_an_empty_test_file_of_django_holds_no_tests(plan_of: PlanOf) -> None:
    empty = "from django.test import TestCase\n\n# Create your tests here.\n"
    files: Files = {"requirements.txt": "", "manage.py": "import django", "a/tests.py": empty}
    assert "test" in skips(plan_of(files))


def test_a_part_that_pytest_does_not_look_into_is_a_project_of_its_own(plan_of: PlanOf) -> None:
    files: Files = {
        "requirements.txt": "",
        "tests/test_a.py": TEST,
        "worker/requirements.txt": "",
        "worker/test_b.py": TEST,
    }
    assert "test worker" not in commands(plan_of(files))
    files = {**files, "pytest.ini": "[pytest]\ntestpaths = tests\n"}
    assert {"test", "test worker"} <= commands(plan_of(files)).keys()


def test_pyright_checks_types_where_it_is_configured(plan_of: PlanOf) -> None:
    plan = plan_of({"requirements.txt": "", "pyrightconfig.json": "{}"})
    assert commands(plan)["typecheck"] == ".venv/bin/python -m pyright"
    assert commands(plan)["install"].endswith(f"{PIP} pyright")


def test_only_what_can_be_imported_is_compiled(plan_of: PlanOf) -> None:
    files = {"setup.py": "", "shop/__init__.py": "", "src/a/__init__.py": "", "docs/x.py": "("}
    compiled = commands(plan_of(files))["compile"]
    assert compiled.endswith("./setup.py ./shop ./src/a")


def test_a_project_in_a_folder_is_checked_there(plan_of: PlanOf) -> None:
    plan = plan_of({"services/api/requirements.txt": "", "services/api/test_a.py": TEST})
    runs = commands(plan)
    assert runs["test services/api"] == "cd services/api && { .venv/bin/python -m pytest; }"
    assert steps_by_name(plan)["test services/api"].depends_on == ("install services/api",)


def test_both_languages_are_checked(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            "package.json": {"scripts": {"test": "node --test"}},
            "backend/pyproject.toml": '[project]\nname = "x"\n',
            "backend/test_a.py": TEST,
            "examples/a/setup.py": "",
        }
    )
    assert "test" in commands(plan)
    step = steps_by_name(plan)["python test backend"]
    assert step.depends_on == ("python install backend",)
    assert "not covered by a check: a Python manifest in examples/a" in plan.notes


def test_a_project_with_only_settings_installs_nothing(plan_of: PlanOf) -> None:
    plan = plan_of({"pyproject.toml": "[tool.ruff]"})
    assert commands(plan)["install"] == "python3 -I -m venv --clear .venv"


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


def test_a_malformed_pyproject_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"pyproject.toml is not TOML"):
        plan_of({"pyproject.toml": "project ="})


def test_without_a_manifest_it_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"strategy python needs one of pyproject.toml"):
        plan_of({"a.py": ""}, StrategyName.PYTHON)


def test_pytest_also_writes_a_report_unless_the_project_asks_for_one(plan_of: PlanOf) -> None:
    files = {"svc/requirements.txt": "", "svc/test_a.py": TEST}
    known = steps_by_name(plan_of(files))["test svc"].test_run
    assert (known.runner, known.reporting) == (
        "pytest",
        "cd svc && { .venv/bin/python -m pytest -o junit_family=xunit1 "
        '--junitxml="${TMPDIR:-/tmp}/revalid-tests.xml"; }',
    )
    files["svc/pytest.ini"] = "[pytest]\naddopts = --junitxml=out.xml\n"
    assert steps_by_name(plan_of(files))["test svc"].test_run.reporting == ""
