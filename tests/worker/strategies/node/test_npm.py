"""Plans of other Node projects."""

from typing import Any

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.jobs.steps import Exec
from tests.worker.strategies.conftest import PlanOf, commands, skips, steps_by_name


def test_every_script_there_is(plan_of: PlanOf) -> None:
    scripts = dict.fromkeys(("build", "type-check", "lint", "test", "dev"), "x")
    plan = plan_of({"package.json": {"scripts": scripts}, "yarn.lock": ""})
    assert plan.strategy is StrategyName.NPM
    assert plan.reason == "package.json"
    assert {n: c for n, c in commands(plan).items() if n != "setup"} == {
        "build": "yarn run build",
        "typecheck": "yarn run type-check",
        "lint": "yarn run lint",
        "test": "yarn run test",
    }


def test_only_lint_does_not_decide(plan_of: PlanOf) -> None:
    scripts = dict.fromkeys(("build", "typecheck", "lint", "test"), "x")
    plan = plan_of({"package.json": {"scripts": scripts}})
    allowed = {
        n
        for n, s in steps_by_name(plan).items()
        if isinstance(s.step, Exec) and s.step.allow_failure
    }
    assert allowed == {"lint"}


def test_missing_scripts_are_skipped_with_the_reason(plan_of: PlanOf) -> None:
    plan = plan_of({"package.json": "{}"})
    assert skips(plan) == {
        "install": "no dependencies in the root",
        "build": "no build script in package.json",
        "typecheck": "no tsconfig.json in the root",
        "lint": "no lint script in package.json",
        "test": "no test script in package.json",
    }


def test_the_compiler_stands_in_for_a_type_script(plan_of: PlanOf) -> None:
    manifest = {"devDependencies": {"typescript": "5"}}
    plan = plan_of({"package.json": manifest, "tsconfig.json": "{}"})
    assert commands(plan)["typecheck"] == "npx --no-install tsc --noEmit"


def test_workspaces_by_their_own_scripts(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            "package.json": {"workspaces": ["packages/*"], "devDependencies": {"typescript": "5"}},
            "packages/a/package.json": {"scripts": {"tsc": "tsc -p .", "test": "x"}},
            "packages/b/package.json": "{}",
            "packages/b/tsconfig.json": "{}",
        }
    )
    assert plan.reason == "package.json; workspaces packages/a, packages/b"
    assert commands(plan) == {
        "install": "npm install",
        "typecheck packages/a": "cd packages/a && npm run tsc",
        "typecheck packages/b": "cd packages/b && npx --no-install tsc --noEmit",
        "test packages/a": "cd packages/a && npm run test",
    }
    assert skips(plan)["test packages/b"] == "no test script in packages/b/package.json"


def test_many_workspaces_are_named_in_short(plan_of: PlanOf) -> None:
    files = {f"p/{n}/package.json": "{}" for n in range(8)}
    plan = plan_of({**files, "package.json": {"workspaces": ["p/*"]}})
    assert plan.reason.endswith("workspaces p/0, p/1, p/2, p/3, p/4, p/5 and 2 more")
    assert skips(plan)["test"] == (
        "no test script in package.json, p/0/package.json, p/1/package.json, p/2/package.json "
        "and 5 more"
    )


def test_without_a_package_it_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"strategy npm needs a package.json"):
        plan_of({"README.md": ""}, StrategyName.NPM)


@pytest.mark.parametrize(
    ("script", "own"),
    [
        ("npm test --prefix backend", False),
        ("turbo run test", False),
        ("npm run all", False),
        ("node --test", True),
    ],
)
def test_a_script_of_the_root_stands_for_the_parts_that_it_runs(
    plan_of: PlanOf, script: str, own: bool
) -> None:
    plan = plan_of(
        {
            "package.json": {"scripts": {"test": script, "all": "cd backend && npm test"}},
            "backend/package.json": {"scripts": {"test": "node --test"}},
        }
    )
    assert ("test backend" in commands(plan)) is own


def test_a_test_script_of_a_linter_does_not_stand_for_the_test_files(plan_of: PlanOf) -> None:
    files: dict[str, Any] = {"a.test.js": "import test from 'node:test'"}
    plan = plan_of({**files, "package.json": {"scripts": {"test": "eslint ."}}})
    assert {"test", "test (node:test)"} <= commands(plan).keys()
    plan = plan_of({**files, "package.json": {"scripts": {"test": "node run.js"}}})
    assert "test (node:test)" not in commands(plan)


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("node --test unit", "not covered by a check: tests in deep/b.test.js"),
        ("node --test 'unit/**/*.js'", "not covered by a check: tests in deep/b.test.js"),
        ("node --test unit && node --test deep", None),
        ("node --test", None),
        ("npm run unit && npm run deep", None),
    ],
)
def test_test_files_that_a_script_does_not_name_are_noted(
    plan_of: PlanOf, script: str, note: str | None
) -> None:
    test = "import test from 'node:test'"
    scripts = {"test": script, "unit": "node --test unit", "deep": "node --test deep"}
    plan = plan_of(
        {
            "package.json": {"scripts": scripts},
            "unit/a.test.js": test,
            "deep/b.test.js": test,
        }
    )
    assert [n for n in plan.notes if n.startswith("not covered")] == ([note] if note else [])


@pytest.mark.parametrize(
    ("script", "own"),
    [
        ("npm test -w packages/a", ["test packages/b"]),
        ("yarn workspace @x/a test", ["test packages/b"]),
        ("turbo test --filter=@x/a", ["test packages/b"]),
        ("nx test a", ["test packages/b"]),
        ("turbo test", []),
        ("pnpm -r test", []),
        ("npm test --workspaces", []),
        ("mocha 'packages/*/t.js'", []),
        ("jest", []),
        ("jest --config jest.config.js", []),
        ("jest test", ["test packages/a", "test packages/b"]),
        ("mocha", ["test packages/a", "test packages/b"]),
        ("node run.js", ["test packages/a", "test packages/b"]),
        ("echo packages && node run.js", ["test packages/a", "test packages/b"]),
    ],
)
def test_a_script_of_the_root_stands_for_the_workspaces_that_it_runs(
    plan_of: PlanOf, script: str, own: list[str]
) -> None:
    files: dict[str, Any] = {
        f"packages/{name}/package.json": {"name": f"@x/{name}", "scripts": {"test": "jest"}}
        for name in "ab"
    }
    files["package.json"] = {"workspaces": ["packages/*"], "scripts": {"test": script}}
    plan = plan_of({**files, "test/a.js": "", "jest.config.js": ""})
    assert [name for name in commands(plan) if name.startswith("test ")] == own
