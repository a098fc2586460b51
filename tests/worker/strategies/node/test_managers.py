"""The commands that provide a package manager, run by a real shell with stand-ins."""

import subprocess
from pathlib import Path

import pytest

from revalid.worker.strategies.node.managers import BERRY, BUN, PNPM, YARN, Manager


def provided(path: Path, manager: Manager, **present: str) -> str:
    """Return npm's arguments in the command, with fake tools that print a version."""
    for name, version in {"npm": '$@" >"$0.log', **present}.items():
        tool = path / name
        tool.write_text(f'#!/bin/sh\necho "{version}"\n')
        tool.chmod(0o755)
    command = manager.provide.format(version="9.9.9")
    process = subprocess.run(["/bin/sh", "-c", command], env={"PATH": str(path)}, check=False)
    assert process.returncode == 0
    log = path / "npm.log"
    return log.read_text().strip() if log.exists() else ""


@pytest.mark.parametrize(
    ("manager", "npm_arguments"),
    [
        (BUN, "install -g --allow-scripts=bun bun@9.9.9"),
        (PNPM, "install -g pnpm@9.9.9"),
        (YARN, "install -g yarn@9.9.9"),
        (BERRY, "install -g --force @yarnpkg/cli-dist@9.9.9"),
    ],
)
def test_a_missing_manager_is_installed(
    tmp_path: Path, manager: Manager, npm_arguments: str
) -> None:
    assert provided(tmp_path, manager) == npm_arguments


@pytest.mark.parametrize("manager", [BUN, PNPM, YARN])
def test_a_present_manager_is_used(tmp_path: Path, manager: Manager) -> None:
    assert provided(tmp_path, manager, **{manager.command: "1.0.0"}) == ""


@pytest.mark.parametrize(("version", "installs"), [("1.22.22", True), ("4.1.0", False)])
def test_classic_yarn_is_replaced_for_berry(tmp_path: Path, version: str, installs: bool) -> None:
    assert bool(provided(tmp_path, BERRY, yarn=version)) is installs
