"""Cargo packages and workspaces are fetched, built and tested."""

import subprocess
from pathlib import Path

from revalid.worker.strategies.rust import _FETCH
from tests.worker.strategies.conftest import PlanOf, commands, steps_by_name

PACKAGE = '[package]\nname = "a"\nversion = "0.1.0"\n'


def test_a_package_is_fetched_built_and_tested(plan_of: PlanOf) -> None:
    plan = plan_of({"Cargo.toml": PACKAGE, "Cargo.lock": "", "src/lib.rs": ""})
    assert commands(plan)["build"] == "cargo build --locked"
    assert commands(plan)["test"] == "cargo test --locked --no-fail-fast"
    assert steps_by_name(plan)["install"].cacheable
    assert (plan.strategy, plan.image) == ("rust", "rust:1.95.0")


def test_without_a_lockfile_nothing_is_reused_and_a_note_says_so(plan_of: PlanOf) -> None:
    plan = plan_of({"Cargo.toml": PACKAGE})
    assert not steps_by_name(plan)["install"].cacheable
    assert "no Cargo.lock: versions may differ between runs" in plan.notes


def test_a_workspace_covers_its_members(plan_of: PlanOf) -> None:
    files = {"Cargo.toml": '[workspace]\nmembers = ["api"]\n', "api/Cargo.toml": PACKAGE}
    plan = plan_of(files)
    assert commands(plan)["test"] == "cargo test --workspace --no-fail-fast"
    assert not [note for note in plan.notes if "not covered" in note]


def test_a_package_beside_a_package_is_named(plan_of: PlanOf) -> None:
    plan = plan_of({"Cargo.toml": PACKAGE, "xtask/Cargo.toml": PACKAGE})
    assert plan.notes[-1] == "not covered by a check: Cargo.toml in xtask"


def test_crates_of_the_lockfile_are_copied_from_and_to_the_kept_downloads(tmp_path: Path) -> None:
    lock = '[[package]]\nname = "itoa"\nversion = "1.0.0"\n\n[[package]]\nname = "ryu"\n'
    (tmp_path / "Cargo.lock").write_text(f'{lock}version = "1.2.3"\n')
    kept, cache = tmp_path / "kept/index-1", tmp_path / "home/registry/cache/index-1"
    kept.mkdir(parents=True)
    for name in ("itoa-1.0.0.crate", "other-1.0.0.crate"):
        (kept / name).write_text(name)
    cargo = tmp_path / "cargo"
    cargo.write_text(f"#!/bin/sh\ntouch {cache}/ryu-1.2.3.crate\n")
    cargo.chmod(0o755)
    subprocess.run(
        ["/bin/sh", "-c", _FETCH],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "CARGO_HOME": str(tmp_path / "home"),
            "REVALID_CARGO_DOWNLOADS": str(kept.parent),
        },
        check=True,
    )
    assert sorted(path.name for path in cache.iterdir()) == ["itoa-1.0.0.crate", "ryu-1.2.3.crate"]
    assert (kept / "ryu-1.2.3.crate").exists()
