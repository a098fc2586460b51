"""The ``rust`` strategy: the packages and workspaces of Cargo."""

from typing import Any

from revalid.jobs.checks import CheckName
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.plan import Plan, Runtime, check, install
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.python.requirements import table
from revalid.worker.strategies.strategy import Language

_FETCH = r"""cache="${CARGO_HOME:-$HOME/.cargo}/registry/cache"
copy() { [ ! -f "$1" ] || [ -f "$2" ] || { mkdir -p "${2%/*}" && cp "$1" "$2"; }; }
crates() { awk -F'"' '/^name = /{n=$2} /^version = /{print n "-" $2 ".crate"}' Cargo.lock; }
kept() { for file in "$1"/*/"$3"; do copy "$file" "$2${file#"$1"}"; done; }
if [ -n "$REVALID_CARGO_DOWNLOADS" ]; then
  crates | while read -r crate; do kept "$REVALID_CARGO_DOWNLOADS" "$cache" "$crate"; done
fi
cargo fetch --locked || exit
if [ -n "$REVALID_CARGO_DOWNLOADS" ]; then
  crates | while read -r crate; do kept "$cache" "$REVALID_CARGO_DOWNLOADS" "$crate"; done
fi"""
"""Cargo builds from its downloads: those of the lockfile are copied from and to the kept ones."""


def plan_part(tree: ProjectTree) -> Plan:
    """Plan the download, the build and the tests of a package or workspace.

    Raises:
        InvalidProject: Its manifest does not parse.
    """
    manifest = tree.toml("Cargo.toml") or {}
    locked = "Cargo.lock" in tree.files
    options = (" --locked" if locked else "") + (" --workspace" if "workspace" in manifest else "")
    depends_on = ("install",)
    steps = (
        # Cargo reads no manifest without the sources that it names, so the install sees them all.
        install(_FETCH if locked else "cargo fetch", cacheable=locked),
        check(CheckName.BUILD, "build", f"cargo build{options}", depends_on, parallel=False),
        check(CheckName.TESTS, "test", f"cargo test{options} --no-fail-fast", depends_on),
    )
    return Plan(
        StrategyName.RUST,
        "Cargo.toml",
        steps,
        ("cargo",),
        () if locked else ("no Cargo.lock: versions may differ between runs",),
        runtime=Runtime("rust", _wanted(manifest), "rust-version"),
    )


def _wanted(manifest: dict[str, Any]) -> str:
    version = table(manifest, "package").get("rust-version")
    version = version or table(manifest, "workspace", "package").get("rust-version")
    return f">={version}" if isinstance(version, str) else ""


def _is_workspace(tree: ProjectTree) -> bool:
    return "workspace" in (tree.toml("Cargo.toml") or {})


RUST = Language(StrategyName.RUST, ("Cargo.toml",), plan_part, _is_workspace)
