"""Parts in languages without a strategy are named, and keep a job from passing."""

import pytest

from revalid.jobs.errors import InvalidProject
from tests.worker.strategies.conftest import PlanOf, skips, steps_by_name

NODE = {"package.json": {"scripts": {"build": "vite build"}}}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("mix.exs", "Elixir"),
        ("backend/mix.exs", "Elixir backend"),
        ("app/pubspec.yaml", "Dart app"),
        ("src/parser/parser.cabal", "Haskell src/parser"),
    ],
)
def test_another_language_leaves_its_tests_unproven(plan_of: PlanOf, path: str, name: str) -> None:
    plan = plan_of({**NODE, path: "{}"})
    step = steps_by_name(plan)[name]
    assert not step.absent
    assert skips(plan)[name].startswith(f"no strategy checks {name.split()[0]} (")


def test_data_and_what_is_below_a_covered_manifest_are_left(plan_of: PlanOf) -> None:
    plan = plan_of({**NODE, "mix.exs": "", "apps/a/mix.exs": "", "fixtures/pubspec.yaml": ""})
    names = [name for name in steps_by_name(plan) if "no strategy" in skips(plan).get(name, "")]
    assert names == ["Elixir"]


def test_another_language_alone_is_named_in_the_refusal(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"no strategy fits .* it holds Elixir \(mix.exs\)"):
        plan_of({"mix.exs": ""})
