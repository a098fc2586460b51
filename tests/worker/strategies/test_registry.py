"""Plug-ins add strategies by entry points; one that is broken is a failure of the worker."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidJob, InvalidProject, StrategyBroken
from revalid.jobs.job import StrategyName, parse_job
from revalid.worker.strategies import registry
from tests.worker.strategies.conftest import PlanOf, commands, skips

WORKS = """\
from revalid.strategies import CheckName, Language, Plan, check

def plan_part(tree):
    return Plan("", "mix.exs", (check(CheckName.TESTS, "test", "mix test"),), ("mix",))

ELIXIR = Language("acme-elixir", ("mix.exs",), plan_part)
"""
NO_PLAN = """\
class Elixir:
    manifests = ("mix.exs",)

    def fits(self, tree):
        return True

    def plan(self, tree):
        return ()

ELIXIR = Elixir()
"""
NO_IMAGE = WORKS.replace("Plan, check", "Plan, Runtime, check").replace(
    '("mix",))', '("mix",), runtime=Runtime("elixir"))'
)
RAISES = WORKS.replace("return Plan(", "raise ValueError('no')\n    Plan(")
AddPlugIn = Callable[..., None]


@pytest.fixture
def add_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AddPlugIn]:
    """Install a package with one module, as pip would."""
    monkeypatch.syspath_prepend(tmp_path / "site")

    def add(code: str, name: str = "acme-elixir", package: str = "acme") -> None:
        site = tmp_path / "site"
        about = site / f"{package}-1.0.dist-info"
        about.mkdir(parents=True)
        (site / f"{package}_plug_in.py").write_text(code)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        entry = f"[revalid.strategies]\n{name} = {package}_plug_in:ELIXIR\n"
        (about / "entry_points.txt").write_text(entry)
        registry.plug_ins.cache_clear()

    yield add
    for name in [name for name in sys.modules if name.endswith("_plug_in")]:
        del sys.modules[name]
    registry.plug_ins.cache_clear()


def test_a_plug_in_plans_the_projects_that_it_fits(plan_of: PlanOf, add_plug_in: AddPlugIn) -> None:
    add_plug_in(WORKS)
    plan = plan_of({"mix.exs": ""})
    assert (plan.strategy, commands(plan)) == ("acme-elixir", {"test": "mix test"})
    assert skips(plan) == {}


def test_a_plug_in_can_be_named(plan_of: PlanOf, add_plug_in: AddPlugIn) -> None:
    add_plug_in(WORKS)
    files = {"mix.exs": "", "package.json": {"scripts": {"test": "jest"}}}
    plan = plan_of(files, strategy="acme-elixir")
    assert commands(plan) == {"test": "mix test"}
    assert commands(plan_of(files)) == {"test": "npm run test", "acme-elixir test": "mix test"}


def test_a_plug_in_decides_nothing_about_other_projects(
    plan_of: PlanOf, add_plug_in: AddPlugIn
) -> None:
    add_plug_in(RAISES)
    assert plan_of({"requirements.txt": ""}).strategy is StrategyName.PYTHON


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (RAISES, "plan() raised ValueError: no"),
        (NO_PLAN, "plan() returned tuple, not a Plan of PlannedStep"),
        (NO_IMAGE, "plan() asks for 'elixir', and no image is of it"),
        ("ELIXIR = 1\n", "AttributeError: 'int' object has no attribute 'fits'"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    ],
)
def test_a_broken_plug_in_is_our_failure(
    plan_of: PlanOf, add_plug_in: AddPlugIn, code: str, problem: str
) -> None:
    add_plug_in(code)
    with pytest.raises(StrategyBroken) as caught:
        plan_of({"mix.exs": ""})
    assert str(caught.value).startswith("strategy acme-elixir of acme 1.0 is broken: ")
    assert problem in str(caught.value)
    assert str(caught.value).endswith("; mend it or uninstall it on the worker")


@pytest.mark.parametrize("name", [*map(str, StrategyName), "elixir", "Acme-Elixir"])
def test_a_name_cannot_be_one_of_ours(plan_of: PlanOf, add_plug_in: AddPlugIn, name: str) -> None:
    add_plug_in(WORKS, name=name)
    with pytest.raises(StrategyBroken, match="its name needs a hyphen"):
        plan_of({"mix.exs": ""})


def test_two_packages_cannot_share_a_name(plan_of: PlanOf, add_plug_in: AddPlugIn) -> None:
    add_plug_in(WORKS)
    add_plug_in(WORKS, package="other")
    with pytest.raises(StrategyBroken, match="has a strategy of this name too"):
        plan_of({"mix.exs": ""})


def test_a_job_names_a_strategy_of_ours_or_one_with_a_hyphen() -> None:
    fields = {"source": {"kind": "path", "path": "/a"}}
    assert parse_job({**fields, "strategy": "acme-elixir"}).strategy == "acme-elixir"
    assert parse_job({**fields, "strategy": "go"}).strategy is StrategyName.GO
    with pytest.raises(InvalidJob, match=r"'pyton' is none of auto, trpc, .* has a hyphen"):
        parse_job({**fields, "strategy": "pyton"})


def test_a_strategy_that_the_worker_lacks_is_named(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match="no strategy acme-cobol on this worker"):
        plan_of({"a.cob": ""}, strategy="acme-cobol")


def test_every_strategy_of_ours_refuses_a_project_of_another_kind(plan_of: PlanOf) -> None:
    for name in (*registry.LANGUAGES, *registry.FALLBACKS):
        with pytest.raises(InvalidProject, match=f"strategy {name} needs"):
            plan_of({"README.md": ""}, strategy=name)


@pytest.mark.parametrize(("code", "problem"), [(WORKS, None), (RAISES, None), ("X = 1", "X")])
def test_the_worker_lists_its_plug_ins(
    add_plug_in: AddPlugIn, tmp_path: Path, code: str, problem: str | None
) -> None:
    add_plug_in(code)
    listed = subprocess.run(
        [sys.executable, "-m", "revalid.worker.strategies"],
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        check=True,
    )
    (entry,) = json.loads(listed.stdout)
    assert (entry["name"], entry["package"]) == ("acme-elixir", "acme 1.0")
    assert (entry["problem"] is None) is (problem is None)
