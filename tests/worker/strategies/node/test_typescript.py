"""Type checks for different tsconfigs."""

import time
from typing import Any

import pytest

from revalid.jobs.job import StrategyName
from revalid.worker.strategies.node.managers import BERRY, BUN, NPM, PNPM, YARN, Manager
from revalid.worker.strategies.node.packages import Package
from revalid.worker.strategies.node.typescript import bases, read_tsconfig, type_check
from tests.worker.strategies.conftest import Make, PlanOf, commands, skips

TS = {"typescript": "5"}

OWN = {"devDependencies": {"typescript": "~5.8.2"}}


def checked(make: Make, config: dict[str, Any] | str, data: dict[str, Any] | None = None) -> str:
    package = Package("client", {**OWN, **(data or {})})
    tree = make({"client/tsconfig.json": config})
    command, reason = type_check(tree, package, Package(".", {}), NPM)
    assert reason == ""
    return command.removeprefix("cd client && npx --no-install tsc ")


INSIDE = {"references": [{"path": "./tsconfig.node.json"}]}
OUTSIDE = {"references": [{"path": "../server"}]}


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ({}, "--noEmit"),
        ({"include": ["src"]}, "--noEmit"),
        ({"files": []}, "--noEmit"),
        ({"files": [], **INSIDE}, "-b --force"),
        ({"files": [], "include": ["src"], **INSIDE}, "--noEmit"),
        ({"include": ["src"], **INSIDE}, "--noEmit"),
        ({"include": ["src"], **OUTSIDE}, "-b --force"),
        ({"references": [{"path": "packages/../../server"}]}, "-b --force"),
        ({"references": 1.5}, "--noEmit"),
        ({"references": [None, {"path": 1}]}, "--noEmit"),
        ("{ not json", "--noEmit"),
    ],
)
def test_build_mode_only_where_plain_tsc_would_check_too_little(
    make: Make, config: dict[str, Any] | str, arguments: str
) -> None:
    assert checked(make, config) == arguments


def test_build_mode_where_the_projects_own_scripts_use_it(make: Make) -> None:
    scripts = {"scripts": {"build": "tsc -b && vite build"}}
    assert checked(make, {"include": ["src"], **INSIDE}, scripts) == "-b --force"


@pytest.mark.parametrize(
    ("manager", "own", "hoisted"),
    [
        (NPM, "npx --no-install tsc --noEmit", "npx --no-install tsc --noEmit"),
        (BUN, "bunx --no-install tsc --noEmit", "bunx --no-install tsc --noEmit"),
        (PNPM, "pnpm exec tsc --noEmit", "pnpm exec tsc --noEmit"),
        (YARN, "npx --no-install tsc --noEmit", "npx --no-install tsc --noEmit"),
        (BERRY, "yarn run -B tsc --noEmit", "yarn run -TB tsc --noEmit"),
    ],
)
def test_the_compiler_is_the_installed_one(
    make: Make, manager: Manager, own: str, hoisted: str
) -> None:
    tree = make({"client/tsconfig.json": "{}"})
    for package, root, expected in (
        (Package("client", OWN), Package(".", {}), own),
        (Package("client", {}), Package(".", OWN), hoisted),
    ):
        assert type_check(tree, package, root, manager) == (f"cd client && {expected}", "")


def test_why_types_are_not_checked(make: Make) -> None:
    tree = make({"client/tsconfig.json": "{}"})
    root = Package(".", {})
    for package, reason in (
        (Package("client", {}), "typescript is not a dependency of"),
        (Package("server", OWN), "no tsconfig.json in"),
    ):
        assert type_check(tree, package, root, NPM)[1] == reason


@pytest.mark.parametrize(
    "text",
    [
        '{"files": [], "references": [{"path": "./a"}]}',
        '// x\n{ /* "files": 1, */ "files": [], // }\n "references": [{"path": "./a",},],\n}',
        '\ufeff{"files": [], "references": [{"path": "./a"}],}',
    ],
)
def test_tsconfig_comments_and_commas(make: Make, text: str) -> None:
    tree = make({"tsconfig.json": text})
    expected = {"files": [], "references": [{"path": "./a"}]}
    assert read_tsconfig(tree, "tsconfig.json") == expected


def test_strings_that_look_like_comments_stay(make: Make) -> None:
    text = '{"paths": {"@/*": ["./src/*"], "b": "c//,}"}}'
    tree = make({"tsconfig.json": text})
    expected = {"paths": {"@/*": ["./src/*"], "b": "c//,}"}}
    assert read_tsconfig(tree, "tsconfig.json") == expected


@pytest.mark.parametrize("unit", ["/*", '"', '\\"', '"\\', "/", ",", ", ", "[", "//"])
def test_a_hostile_tsconfig_ends_soon(make: Make, unit: str) -> None:
    tree = make({"tsconfig.json": (unit * 1_000_000)[: 1 << 20]})
    started = time.monotonic()
    assert read_tsconfig(tree, "tsconfig.json") == {}
    assert time.monotonic() - started < 5


def test_a_config_that_others_extend_and_that_names_no_files_is_a_base(make: Make) -> None:
    root, client, server = (Package(d, {}) for d in (".", "client", "server"))
    tree = make(
        {
            "tsconfig.json": {"compilerOptions": {"strict": True}},
            "client/tsconfig.json": {"extends": "../tsconfig"},
            "server/tsconfig.json": {"extends": ["../client/tsconfig.json"], "include": ["src"]},
        }
    )
    assert bases(tree, (root, client, server)) == {"tsconfig.json", "client/tsconfig.json"}
    tree = make({"tsconfig.json": {"include": ["src"]}})
    assert bases(tree, (root, client, server)) == {"client/tsconfig.json"}


@pytest.mark.parametrize(
    ("dependencies", "files", "command"),
    [
        (["svelte-check"], ["a.svelte"], "svelte-check --tsconfig ./tsconfig.json"),
        (
            ["svelte-check", "@sveltejs/kit"],
            ["a.svelte"],
            "svelte-kit sync && npx --no-install svelte-check --tsconfig ./tsconfig.json",
        ),
        (["vue-tsc"], ["a.vue"], "vue-tsc --noEmit"),
        (["@astrojs/check"], ["a.astro"], "astro check"),
        (["nuxt", "vue-tsc"], ["app.vue"], "nuxt typecheck"),
        (
            ["@react-router/dev"],
            ["a.ts"],
            "react-router typegen && npx --no-install tsc --noEmit",
        ),
        (["vue-tsc"], ["a.ts"], "tsc --noEmit"),
        (["svelte-check"], ["a.ts"], "tsc --noEmit"),
    ],
)
def test_a_framework_is_checked_by_its_own_tool(
    plan_of: PlanOf, dependencies: list[str], files: list[str], command: str
) -> None:
    installed = dict.fromkeys([*dependencies, "typescript"], "1")
    sources = {f"src/{name}": "" for name in files}
    plan = plan_of(
        {"package.json": {"devDependencies": installed}, "tsconfig.json": "{}", **sources}
    )
    assert commands(plan)["typecheck"] == f"npx --no-install {command}"


def test_javascript_alone_has_no_types_to_check(plan_of: PlanOf) -> None:
    manifest = {"package.json": {"devDependencies": TS}, "src/a.js": ""}
    plan = plan_of({**manifest, "tsconfig.json": "{}"})
    assert skips(plan)["typecheck"] == "no TypeScript sources in the root"
    plan = plan_of({**manifest, "tsconfig.json": {"compilerOptions": {"checkJs": True}}})
    assert "typecheck" in commands(plan)


@pytest.mark.parametrize("strategy", [StrategyName.TRPC, StrategyName.NPM])
def test_the_projects_own_script_goes_first(plan_of: PlanOf, strategy: StrategyName) -> None:
    manifest = {"scripts": {"typecheck": "tsc -p b.json"}, "devDependencies": TS}
    plan = plan_of({"package.json": manifest, "tsconfig.json": "{}"}, strategy)
    assert commands(plan)["typecheck"] == "npm run typecheck"
