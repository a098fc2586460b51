"""The steps of a Mix project."""

from pathlib import Path

from revalid_strategy_elixir import ELIXIR

from revalid.strategies import ProjectTree


def names(project: Path) -> list[str]:
    """Return the names of the steps that run."""
    steps = ELIXIR.plan(ProjectTree(project)).steps
    return [planned.step.name for planned in steps if planned.skipped_reason is None]


def test_a_project_is_installed_built_and_tested(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    for name in ("mix.exs", "mix.lock", "test/a_test.exs"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["install", "build", "test"]


def test_without_tests_only_the_build_runs(tmp_path: Path) -> None:
    (tmp_path / "mix.exs").touch()
    assert names(tmp_path) == ["install", "build"]


def test_another_project_is_none_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "package.json").touch()
    assert not ELIXIR.fits(ProjectTree(tmp_path))
