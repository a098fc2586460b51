"""Projects of Deno are installed, checked and tested."""

import pytest

from tests.worker.strategies.conftest import Files, PlanOf, commands, skips, steps_by_name


def test_a_project_is_installed_checked_and_tested(plan_of: PlanOf) -> None:
    plan = plan_of({"deno.json": "{}", "deno.lock": "{}", "a.ts": "", "a_test.ts": ""})
    assert [command.splitlines()[-1] for command in commands(plan).values()] == [
        "deno install --frozen",
        "deno check .",
        "deno test -A",
    ]
    assert steps_by_name(plan)["install"].cacheable
    assert plan.image == "denoland/deno:2.9.6"


@pytest.mark.parametrize(
    "files",
    [
        {"deno.json": {"tasks": {"test": "deno test", "build": "vite build"}}},
        {"deno.jsonc": '// a comment\n{"tasks": {"test": "deno test", "build": "vite",}}'},
    ],
)
def test_tasks_go_first(plan_of: PlanOf, files: Files) -> None:
    plan = plan_of(files)
    assert commands(plan)["build"].endswith("deno task build")
    assert commands(plan)["test"].endswith("deno task test")
    assert skips(plan) == {"typecheck": "no TypeScript source"}


def test_a_manifest_that_cannot_be_read_has_no_tasks(plan_of: PlanOf) -> None:
    assert skips(plan_of({"deno.json": "{", "a.ts": ""}))["test"] == "no test file"
