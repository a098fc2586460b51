"""Plans of tRPC apps, by layout."""

from typing import Any

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from tests.worker.strategies.conftest import PlanOf, commands, skips, steps_by_name

TS = {"typescript": "^5"}
PLACEHOLDER = 'echo "Error: no test specified" && exit 1'


def manifest(*scripts: str, **fields: Any) -> dict[str, Any]:
    return {
        "scripts": {script: f"run-{script}" for script in scripts},
        "dependencies": {"@trpc/server": "^11"},
        "devDependencies": TS,
        **fields,
    }


def generated(**server: Any) -> dict[str, Any]:
    """Return a project with client and server as workspaces, with bun, and an empty root."""
    return {
        "package.json": {"workspaces": ["client", "server"], "dependencies": {"app": "."}},
        "bun.lock": "{}",
        "client/package.json": {"scripts": {"build": "tsc -b"}, "devDependencies": TS},
        "client/tsconfig.json": {"files": [], "references": [{"path": "./tsconfig.app.json"}]},
        "server/package.json": manifest("build", **server),
        "server/tsconfig.json": "{}",
    }


def test_a_single_package(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            "package.json": manifest("build", "test"),
            "package-lock.json": "{}",
            "tsconfig.json": "{}",
        }
    )
    assert plan.strategy is StrategyName.TRPC
    assert plan.reason == "package.json depends on @trpc/server"
    assert commands(plan) == {
        "install": "npm ci",
        "build": "npm run build",
        "typecheck": "npx --no-install tsc --noEmit",
        "test": "npm run test",
    }
    assert [step.depends_on for step in plan.steps] == [(), *[("install",)] * 3]


def test_a_generated_app(plan_of: PlanOf) -> None:
    plan = plan_of(generated())
    assert plan.reason == ("server/package.json depends on @trpc/server; workspaces client, server")
    assert list(commands(plan).items())[1:] == [
        ("install", "bun install --frozen-lockfile"),
        ("build client", "cd client && bun run build"),
        ("build server", "cd server && bun run build"),
        ("typecheck client", "cd client && bunx --no-install tsc -b --force"),
        ("typecheck server", "cd server && bunx --no-install tsc --noEmit"),
    ]
    assert skips(plan) == {
        "test": "no test script in package.json, client/package.json, server/package.json",
        "start server": "no start script and no known entry in server",
    }


def test_root_scripts_stand_for_the_workspaces(plan_of: PlanOf) -> None:
    files = generated()
    files["package.json"] |= {"scripts": {"build": "npm run build -ws", "test": "turbo test"}}
    assert [n for n in commands(plan_of(files)) if n.startswith(("build", "test"))] == [
        "build",
        "test",
    ]


def test_the_placeholder_test_is_skipped_with_a_reason(plan_of: PlanOf) -> None:
    plan = plan_of({"package.json": manifest(scripts={"test": PLACEHOLDER})})
    assert skips(plan)["test"] == "only a placeholder for a test script in package.json"


def test_a_placeholder_at_the_root_leaves_the_workspaces_tests(plan_of: PlanOf) -> None:
    files = generated(scripts={"test": "bun test"})
    files["package.json"] |= {"scripts": {"test": PLACEHOLDER}}
    plan = plan_of(files)
    assert commands(plan)["test server"] == "cd server && bun run test"
    assert skips(plan) | {"build server": ""} == {
        "test": "only a placeholder for a test script in package.json",
        "test client": "no test script in client/package.json",
        "start server": "no start script and no known entry in server",
        "build server": "",
    }


def test_client_and_server_without_a_root(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            "client/package.json": manifest("build"),
            "client/package-lock.json": "{}",
            "client/tsconfig.json": "{}",
            "server/package.json": manifest("test"),
        }
    )
    steps = steps_by_name(plan)
    assert plan.reason.endswith("installed separately: client, server")
    assert commands(plan) == {
        "install client": "cd client && npm ci",
        "install server": "cd server && npm install",
        "build client": "cd client && npm run build",
        "typecheck client": "cd client && npx --no-install tsc --noEmit",
        "test server": "cd server && npm run test",
    }
    assert (steps["install client"].cacheable, steps["install server"].cacheable) == (True, False)
    assert steps["typecheck client"].depends_on == ("install client", "install server")
    assert steps["test server"].depends_on == ("install server",)


def test_types_are_not_checked_without_typescript(plan_of: PlanOf) -> None:
    plan = plan_of({"package.json": {"dependencies": {"@trpc/server": "1"}}, "tsconfig.json": "{}"})
    assert skips(plan)["typecheck"] == "typescript is not a dependency of the root"


def test_a_base_tsconfig_at_the_root_is_not_checked(plan_of: PlanOf) -> None:
    files = generated()
    files["package.json"] |= {"devDependencies": TS}
    files["tsconfig.json"] = "{}"
    files["server/tsconfig.json"] = {"extends": "../tsconfig.json"}
    plan = plan_of(files)
    assert "typecheck server" in commands(plan)
    assert skips(plan)["typecheck"] == (
        "the tsconfig.json is only a base that others extend, in the root"
    )


@pytest.mark.parametrize("entry", [{"types": "dist/index.d.ts"}, {"main": "./dist/index.js"}])
def test_checks_wait_for_the_builds_of_their_imports(
    plan_of: PlanOf, entry: dict[str, Any]
) -> None:
    files = generated(name="@app/server", **entry)
    files["client/package.json"]["dependencies"] = {"@app/server": "*"}
    plan = plan_of(files)
    steps = steps_by_name(plan)
    names = list(steps)
    assert names.index("build server") < names.index("build client")
    assert steps["build client"].depends_on == ("install", "build server")
    assert steps["typecheck client"].depends_on == ("install", "build server")
    assert steps["typecheck server"].depends_on == ("install",)


def test_the_root_build_is_waited_for_where_it_builds_them(plan_of: PlanOf) -> None:
    files = generated(name="@app/server", types="dist/index.d.ts")
    files["package.json"]["scripts"] = {"build": "npm run build --workspaces"}
    files["client/package.json"]["dependencies"] = {"@app/server": "*"}
    assert steps_by_name(plan_of(files))["typecheck client"].depends_on == ("install", "build")


def test_source_that_is_imported_needs_no_build(plan_of: PlanOf) -> None:
    exports = {"types": "./src/router.ts", "default": "./dist/router.js"}
    files = generated(name="@app/server", exports=exports)
    files["server/src/router.ts"] = ""
    files["client/package.json"]["dependencies"] = {"@app/server": "*"}
    assert steps_by_name(plan_of(files))["typecheck client"].depends_on == ("install",)


def test_builds_are_waited_for_through_source_packages(plan_of: PlanOf) -> None:
    files = generated(name="@app/server", dependencies={"@trpc/server": "1", "@app/db": "*"})
    files["package.json"]["workspaces"] = ["*"]
    files["client/package.json"]["dependencies"] = {"@app/server": "*"}
    files["db/package.json"] = manifest("build", name="@app/db", main="dist/index.js")
    assert steps_by_name(plan_of(files))["typecheck client"].depends_on == ("install", "build db")


def test_packages_that_import_each_other_do_not_wait_for_ever(plan_of: PlanOf) -> None:
    def importing(name: str, other: str) -> dict[str, Any]:
        entry = {"name": name, "main": "dist/x.js"}
        return manifest("build", **entry, dependencies={other: "*", "@trpc/server": "1"})

    plan = plan_of(
        {
            "package.json": {"workspaces": ["client", "server"]},
            "client/package.json": importing("c", "s"),
            "server/package.json": importing("s", "c"),
        }
    )
    earlier: set[str] = set()
    for name, step in steps_by_name(plan).items():
        assert earlier.issuperset(step.depends_on)
        earlier.add(name)


def test_without_trpc_the_strategy_runs_with_a_reason(plan_of: PlanOf) -> None:
    plan = plan_of({"package.json": {"scripts": {"build": "x"}}}, StrategyName.TRPC)
    assert plan.reason == "nothing depends on @trpc"
    assert commands(plan)["build"] == "npm run build"


def test_without_a_package_it_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"strategy trpc needs a package.json at the root"):
        plan_of({"README.md": ""}, StrategyName.TRPC)
