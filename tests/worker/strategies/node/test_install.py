"""Installs of dependencies, and the files that an install can see."""

from typing import Any

import pytest

from revalid.worker.strategies.node.install_inputs import install_inputs
from revalid.worker.strategies.node.workspaces import find_groups
from tests.worker.strategies.conftest import Make, PlanOf, commands, skips, steps_by_name

APP: dict[str, Any] = {"dependencies": {"zod": "^4"}}


def test_a_lockfile_makes_an_install_reusable(plan_of: PlanOf) -> None:
    install = steps_by_name(plan_of({"package.json": APP, "package-lock.json": "{}"}))["install"]
    assert (install.install, install.cacheable, install.depends_on) == (True, True, ())
    assert install.inputs == ("package-lock.json", "package.json")


def test_without_a_lockfile_nothing_is_reused(plan_of: PlanOf) -> None:
    plan = plan_of({"package.json": APP})
    assert steps_by_name(plan)["install"].cacheable is False
    assert plan.notes == (
        "no lockfile in the root: ran npm install; versions may differ between runs",
    )


def test_a_missing_manager_is_provided_first_and_sees_nothing(plan_of: PlanOf) -> None:
    plan = plan_of({"package.json": APP, "bun.lock": "{}"})
    setup, install = plan.steps[:2]
    assert steps_by_name(plan)["setup"] is setup
    assert (setup.install, setup.cacheable, setup.inputs) == (True, True, ())
    assert commands(plan)["setup"] == (
        "command -v bun >/dev/null || npm install -g --allow-scripts=bun bun@1.4.5"
    )
    assert install.depends_on == ("setup",)
    assert plan.tools == ("node", "bun")


def test_a_tool_that_only_scripts_call_is_provided_too(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            "package.json": {**APP, "scripts": {"test": "bun test", "dev": "yarn x"}},
            "package-lock.json": "{}",
        }
    )
    assert "bun@" in commands(plan)["setup"]
    assert "yarn" not in commands(plan)["setup"]
    assert plan.tools == ("node", "npm", "bun")


def test_two_managers_are_provided_by_one_step(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            "client/package.json": APP,
            "client/bun.lock": "{}",
            "server/package.json": APP,
            "server/pnpm-lock.yaml": "lockfileVersion: '9.0'\n",
        }
    )
    bun, pnpm = commands(plan)["setup"].split(" && ")
    assert (bun.startswith("{ command -v bun"), pnpm.endswith("pnpm@9.15.9; }")) == (True, True)
    assert commands(plan)["install client"] == "cd client && bun install --frozen-lockfile"
    assert commands(plan)["install server"] == "cd server && pnpm install --frozen-lockfile"


def test_install_without_dependencies_is_skipped(plan_of: PlanOf) -> None:
    plan = plan_of({"package.json": {"scripts": {"build": "node build.js"}}})
    assert skips(plan)["install"] == "no dependencies in the root"
    assert steps_by_name(plan)["build"].depends_on == ()
    assert plan.notes == ()


def inputs(make: Make, manifest: dict[str, Any], files: dict[str, Any]) -> tuple[str, ...] | None:
    tree = make({"package.json": manifest, "package-lock.json": "{}", "src/a.ts": "", **files})
    return install_inputs(tree, find_groups(tree))


def test_an_install_sees_manifests_settings_and_patches(make: Make) -> None:
    files = {
        "client/package.json": "{}",
        ".npmrc": "",
        "bunfig.toml": "",
        "patches/zod.patch": "",
        ".yarn/releases/yarn.cjs": "",
        "client/.yarnrc.yml": "",
        "client/package.json.md": "",
    }
    assert inputs(make, {**APP, "workspaces": ["client"]}, files) == (
        ".npmrc",
        ".yarn/releases/yarn.cjs",
        "bunfig.toml",
        "client/.yarnrc.yml",
        "client/package.json",
        "package-lock.json",
        "package.json",
        "patches/zod.patch",
    )


@pytest.mark.parametrize(
    "manifest",
    [
        {"scripts": {"postinstall": "node x.js"}},
        {"scripts": {"prepare": "husky"}},
        {"dependencies": {"self": "."}},
        {"name": "self", "main": "x.js", "dependencies": {"self": "."}},
        {"name": "self", "dependencies": {"self": "./"}},
        {"dependencies": {"lib": "file:lib"}},
        {"dependencies": {"lib": "link:../lib"}},
        {"dependencies": {"lib": "./lib"}},
        {"dependencies": {"lib": "vendor/lib.tgz"}},
        {"dependencies": {"@prisma/client": "^6"}},
        {"dependenciesMeta": {"lib": {"injected": True}}},
        {"pnpm": {"overrides": {"lib": "link:lib"}}},
        {"overrides": {"a": {"b": "file:lib"}}},
    ],
)
def test_an_install_that_runs_or_copies_project_files_sees_everything(
    make: Make, manifest: dict[str, Any]
) -> None:
    assert inputs(make, manifest, {}) is None


@pytest.mark.parametrize(
    "manifest",
    [
        {"dependencies": {"@trpc/client": "npm:@trpc/client@next"}},
        {"dependencies": {"a": "workspace:*", "b": "https://example.com/b.tgz", "c": "catalog:"}},
        {"scripts": {"build": "node install", "test": "x"}},
        {"name": "self", "dependencies": {"self": "."}},
    ],
)
def test_other_manifests_leave_the_sources_out(make: Make, manifest: dict[str, Any]) -> None:
    assert inputs(make, manifest, {}) == ("package-lock.json", "package.json")


@pytest.mark.parametrize(
    "files",
    [
        {"binding.gyp": ""},
        {".pnpmfile.cjs": ""},
        {"pnpm-workspace.yaml": "overrides:\n  a: link:./lib\n"},
        {"node_modules/a/package.json": "{}"},
        {"client/package.json": {"bin": "cli.js"}},
        {"patches/a\nb.patch": ""},
    ],
)
def test_files_that_make_an_install_see_everything(make: Make, files: dict[str, Any]) -> None:
    assert inputs(make, {"workspaces": ["client"]}, files) is None


def test_berry_installs_also_where_nothing_is_to_install(plan_of: PlanOf) -> None:
    manifest = {"packageManager": "yarn@4.9.1", "scripts": {"test": "node --test"}}
    assert "install" in commands(plan_of({"package.json": manifest}))
