"""Test files without a script run with the runner that they import."""

from typing import Any

import pytest

from revalid.jobs.checks import CheckName
from tests.worker.strategies.conftest import PlanOf, commands, steps_by_name


def package(scripts: Any = None, **dependencies: str) -> dict[str, Any]:
    return {"name": "a", "scripts": scripts or {}, "devDependencies": dependencies}


def importing(runner: str) -> str:
    return f'import {{ test }} from "{runner}";\ntest("a", () => {{}});\n'


VITEST = importing("vitest")
GLOBALS = "describe('a', () => { it('b', () => {}); });\n"


@pytest.mark.parametrize(
    ("files", "dependencies", "command"),
    [
        ({"src/a.test.ts": importing("bun:test")}, {}, "bun test ./src/a.test.ts"),
        ({"a.spec.ts": VITEST}, {"vitest": "3"}, "npx --no-install vitest run ./a.spec.ts"),
        ({"a.test.js": GLOBALS}, {"vitest": "3"}, "npx --no-install vitest run ./a.test.js"),
        (
            {"a.test.js": GLOBALS},
            {"jest": "30"},
            "npx --no-install jest --runTestsByPath ./a.test.js",
        ),
        ({"a.test.js": importing("node:test")}, {}, "node --test ./a.test.js"),
        ({"test/a.js": importing("node:test")}, {}, "node --test ./test/a.js"),
        (
            {"a.test.ts": importing("node:test")},
            {"tsx": "4"},
            "node --import tsx --test ./a.test.ts",
        ),
        ({"test/a.js": importing("mocha")}, {"mocha": "11"}, "npx --no-install mocha ./test/a.js"),
        ({"a.test.mjs": importing("ava")}, {"ava": "6"}, "npx --no-install ava ./a.test.mjs"),
        (
            {"a b.test.js": VITEST, "__tests__/c.js": VITEST},
            {"vitest": "3"},
            "npx --no-install vitest run ./__tests__/c.js './a b.test.js'",
        ),
    ],
)
def test_the_runner_is_the_one_that_the_files_import(
    plan_of: PlanOf, files: dict[str, Any], dependencies: dict[str, str], command: str
) -> None:
    plan = plan_of({"package.json": package(None, **dependencies), **files})
    assert commands(plan)["test"] == command
    assert steps_by_name(plan)["test"].check is CheckName.TESTS


@pytest.mark.parametrize(
    ("files", "dependencies", "reason"),
    [
        (
            {"a.test.ts": VITEST},
            {},
            "1 test file import vitest, which is no dependency of the root",
        ),
        ({"a.test.js": GLOBALS}, {}, "1 test file of an unknown runner, such as a.test.js"),
        (
            {"a.test.ts": importing("node:test")},
            {"typescript": "5"},
            "nothing here loads TypeScript for node",
        ),
    ],
)
def test_files_that_cannot_run_leave_the_tests_unproven(
    plan_of: PlanOf, files: dict[str, Any], dependencies: dict[str, str], reason: str
) -> None:
    plan = plan_of({"package.json": package(None, **dependencies), **files})
    (step,) = [s for name, s in steps_by_name(plan).items() if name.startswith("test (")]
    assert reason in str(step.skipped_reason)
    assert not step.absent


@pytest.mark.parametrize(
    "path",
    ["dist/a.test.js", ".cursor/a.test.js", "src/test-data.ts", "test/helper.js", "a.test.json"],
)
def test_other_files_are_no_tests(plan_of: PlanOf, path: str) -> None:
    text = VITEST if path.endswith("test.js") else "export const a = 1;\n"
    plan = plan_of({"package.json": package({"build": "tsc"}, vitest="3"), path: text})
    assert [name for name in steps_by_name(plan) if name.startswith("test")] == ["test"]
    assert steps_by_name(plan)["test"].absent


def test_a_script_runs_the_files_of_the_runner_that_it_calls(plan_of: PlanOf) -> None:
    files = {"a.test.ts": VITEST, "b.test.ts": importing("bun:test")}
    plan = plan_of({"package.json": package({"test": "vitest run"}, vitest="3"), **files})
    assert commands(plan)["test"] == "bun run test"
    assert commands(plan)["test (bun:test)"] == "bun test ./b.test.ts"


def test_a_script_of_its_own_kind_runs_every_file_but_playwrights(plan_of: PlanOf) -> None:
    files = {"a.test.js": VITEST, "e2e/a.spec.js": importing("@playwright/test")}
    plan = plan_of({"package.json": package({"test": "node all.js"}, vitest="3"), **files})
    assert commands(plan)["test"] == "npm run test"
    step = steps_by_name(plan)["test (playwright)"]
    assert (step.check, step.absent) == (CheckName.RENDER, True)


def test_the_files_of_each_package_are_its_own(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            "package.json": package() | {"workspaces": ["client", "server"]},
            "client/package.json": package({"test": "vitest run"}, vitest="3"),
            "client/a.test.ts": VITEST,
            "server/package.json": package(),
            "server/src/b.test.ts": importing("bun:test"),
        }
    )
    assert commands(plan)["test client"] == "cd client && bun run test"
    assert commands(plan)["test server"] == "cd server && bun test ./src/b.test.ts"
    assert "bun" in commands(plan)["setup"]


def test_of_very_many_files_the_runner_finds_its_own(plan_of: PlanOf) -> None:
    files = {f"{'x' * 60}{number}.test.js": VITEST for number in range(1_200)}
    plan = plan_of({"package.json": package(vitest="3"), **files})
    assert commands(plan)["test"] == "npx --no-install vitest run"


@pytest.mark.parametrize(
    ("script", "runner", "hides"),
    [
        ("vitest run --coverage", "vitest", False),
        ("NODE_ENV=test npx jest -t 'a && b; c'", "jest", False),
        ("c8 mocha 2>&1", "mocha", False),
        ("vitest run && jest", None, False),
        ("vitest run && node check.js", None, False),
        ("concurrently 'vitest run'", None, False),
        ("turbo run test", None, False),
        ("node check.js", None, False),
        ("npm start & sleep 2; node check.js", None, False),
        ("mkdir -p out; node check.js", None, False),
        ("npm start & sleep 2; node check.js; kill %1", None, True),
        ("npm run unit & sleep 2; node check.js", None, True),
        ("sleep 1 && node unit.js; node check.js", None, True),
        ("echo $(node unit.js); node check.js", None, True),
        ("exit 0; node check.js", None, True),
        ("echo skipped || node check.js", None, True),
        ("vitest run || true", None, True),
        ("jest; exit 0", None, True),
        ("tape a.js | tap-spec", None, True),
        ("node server.js & jest", None, True),
        ("node check.js || echo failed", None, True),
    ],
)
def test_what_a_script_says_of_its_tests(
    plan_of: PlanOf, script: str, runner: str | None, hides: bool
) -> None:
    plan = plan_of({"package.json": package({"test": script})})
    known = steps_by_name(plan)["test"].test_run
    assert (known.runner, known.hides_failures, known.reporting) == (runner, hides, "")


@pytest.mark.parametrize(
    ("files", "dependencies", "reporting"),
    [
        (
            {"a.test.ts": importing("bun:test")},
            {},
            'bun test --reporter=junit --reporter-outfile="${TMPDIR:-/tmp}/revalid-tests.xml" '
            "./a.test.ts",
        ),
        (
            {"a.test.js": VITEST},
            {"vitest": "3"},
            "npx --no-install vitest run --reporter=default --reporter=json "
            '--outputFile.json="${TMPDIR:-/tmp}/revalid-tests.json" ./a.test.js',
        ),
        (
            {"a.test.js": GLOBALS},
            {"jest": "30"},
            'npx --no-install jest --json --outputFile="${TMPDIR:-/tmp}/revalid-tests.json" '
            "--runTestsByPath ./a.test.js",
        ),
        (
            {"a.test.js": importing("node:test")},
            {},
            "node --test --test-reporter=spec --test-reporter-destination=stdout "
            '--test-reporter=junit --test-reporter-destination="${TMPDIR:-/tmp}/revalid-tests.xml" '
            "./a.test.js",
        ),
        ({"test/a.js": importing("mocha")}, {"mocha": "11"}, ""),
    ],
)
def test_a_runner_that_we_call_also_writes_a_report(
    plan_of: PlanOf, files: dict[str, Any], dependencies: dict[str, str], reporting: str
) -> None:
    plan = plan_of({"package.json": package(None, **dependencies), **files})
    assert steps_by_name(plan)["test"].test_run.reporting == reporting


def test_a_report_is_written_from_the_directory_of_the_package(plan_of: PlanOf) -> None:
    files = {"web/package.json": package(None, vitest="3"), "web/jest vitest run.test.js": VITEST}
    known = steps_by_name(plan_of(files))["test web"].test_run
    assert known.reporting.startswith("cd web && npx --no-install vitest run --reporter=default")
    assert known.reporting.endswith("'./jest vitest run.test.js'")


@pytest.mark.parametrize(
    ("scripts", "command"),
    [
        ({"test": "turbo run test"}, "TURBO_FORCE=true npm run test"),
        (
            {"test": "npm run all", "all": "nx run-many -t test"},
            "NX_SKIP_NX_CACHE=true npm run test",
        ),
        ({"test": "lerna run test"}, "NX_SKIP_NX_CACHE=true npm run test"),
        ({"test": "vitest run"}, "npm run test"),
    ],
)
def test_no_cache_replays_tests(plan_of: PlanOf, scripts: dict[str, str], command: str) -> None:
    assert commands(plan_of({"package.json": package(scripts)}))["test"] == command


@pytest.mark.parametrize(
    ("script", "name", "text", "runs"),
    [
        ("node --test", "load-test.js", "import autocannon from 'autocannon';\nrun();\n", False),
        ("CI=1 node --test --test-reporter=spec", "a.test.js", "// nothing yet\n", False),
        ("node --test", "a.test.js", importing("node:test"), True),
        ("node --test", "a.test.js", "import assert from 'assert';\nassert(f());\n", True),
        ("node --test", "a.test.js", "if (f() !== 3) process.exit(1);\n", True),
        ("node --test dist/", "load-test.js", "run();\n", True),
        ("node --test", "index.js", "run();\n", True),
    ],
)
def test_files_without_a_test_are_none_of_node(
    plan_of: PlanOf, script: str, name: str, text: str, runs: bool
) -> None:
    step = steps_by_name(plan_of({"package.json": package({"test": script}), name: text}))["test"]
    reason = None if runs else "no file with a test for the test script in package.json"
    assert (step.skipped_reason, step.absent) == (reason, not runs)
