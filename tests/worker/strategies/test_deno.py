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


@pytest.mark.parametrize("task", ["echo none", "true", {"command": "exit 0"}, "sleep 1 && echo a"])
def test_a_task_that_does_nothing_proves_nothing(plan_of: PlanOf, task: str) -> None:
    manifest: Files = {"deno.json": {"tasks": {"test": task, "build": task}}}
    skipped = skips(plan_of(manifest))
    assert skipped["test"] == "only a placeholder for a task test"
    assert skipped["build"] == "only a placeholder for a task build"
    assert commands(plan_of({**manifest, "a_test.ts": ""}))["test"].endswith("deno test -A")


def test_a_task_may_run_others(plan_of: PlanOf) -> None:
    tasks = {"test": {"dependencies": ["unit"]}, "unit": "deno test unit"}
    assert commands(plan_of({"deno.json": {"tasks": tasks}}))["test"].endswith("deno task test")


@pytest.mark.parametrize(
    ("task", "hides"), [("deno test || true", True), ({"command": "deno test"}, False)]
)
def test_a_task_that_hides_failed_tests_is_known(
    plan_of: PlanOf, task: object, *, hides: bool
) -> None:
    plan = plan_of({"deno.json": {"tasks": {"test": task}}})
    assert steps_by_name(plan)["test"].test_run.hides_failures is hides


def test_a_manifest_that_cannot_be_read_has_no_tasks(plan_of: PlanOf) -> None:
    assert skips(plan_of({"deno.json": "{", "a.ts": ""}))["test"] == "no test file"
