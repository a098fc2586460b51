"""Plans of jobs."""

from pathlib import Path

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import Job, StrategyName
from revalid.jobs.steps import Exec, SetEnv
from revalid.worker.strategies.dispatch import make_plan
from tests.jobs.samples import make_job
from tests.worker.strategies.conftest import Files, PlanOf, commands

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    ("files", "strategy"),
    [
        ({"package.json": {"dependencies": {"@trpc/server": "1"}}}, StrategyName.TRPC),
        ({"client/package.json": {"devDependencies": {"@trpc/client": "1"}}}, StrategyName.TRPC),
        (
            {
                "package.json": {"workspaces": ["apps/*"]},
                "apps/api/package.json": {"dependencies": {"@trpc/server": "1"}},
            },
            StrategyName.TRPC,
        ),
        ({"package.json": {"dependencies": {"trpc": "1"}}}, StrategyName.NPM),
        ({"package.json": "{}", "pyproject.toml": ""}, StrategyName.PYTHON),
        (
            {"package.json": {"scripts": {"build": "vite build"}}, "pyproject.toml": ""},
            StrategyName.NPM,
        ),
        ({"pyproject.toml": ""}, StrategyName.PYTHON),
        ({"setup.py": ""}, StrategyName.PYTHON),
        ({"requirements.txt": ""}, StrategyName.PYTHON),
    ],
)
def test_auto_reports_the_detected_strategy(
    plan_of: PlanOf, files: Files, strategy: StrategyName
) -> None:
    plan = plan_of(files)
    assert plan.strategy is strategy
    assert plan.reason


def test_auto_refuses_an_unknown_project(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"no strategy fits .* with --command"):
        plan_of({"main.go": "", "docs/package.json": "{}"})


@pytest.mark.parametrize("manifest", ["go.mod", "Cargo.toml", "pyproject.toml"])
def test_the_name_of_a_part_is_no_option_of_cd(plan_of: PlanOf, manifest: str) -> None:
    found = commands(plan_of({f"-part/{manifest}": "", "-part/a.go": ""}))
    assert found
    assert all(command.startswith("cd ./-part && ") for command in found.values())


def test_given_steps_are_not_changed(plan_of: PlanOf) -> None:
    steps = (
        SetEnv(name="A", value="b"),
        Exec(command="npm ci && bun test"),
        Exec(command="python3 -m pytest", name="test"),
    )
    plan = plan_of({}, StrategyName.COMMAND, steps=steps)
    assert [planned.step for planned in plan.steps] == list(steps)
    assert [planned.check for planned in plan.steps] == [None, CheckName.COMMAND, CheckName.COMMAND]
    assert plan.reason == "3 steps given with the job"
    assert plan.tools == ("npm", "bun", "python3")


def test_a_trajectory_needs_no_project(tmp_path: Path) -> None:
    job = Job(strategy=StrategyName.TRAJECTORY, steps=(Exec(command="true"),))
    plan = make_plan(job, tmp_path / "none")
    assert (plan.strategy, plan.reason) == (StrategyName.TRAJECTORY, "1 step given with the job")
    assert not plan.stop_on_failure


def test_commands_stop_at_a_failure_unless_they_keep_going(tmp_path: Path) -> None:
    for keep_going in (True, False):
        job = make_job(strategy="command", steps=[Exec(command="true")], keep_going=keep_going)
        assert make_plan(job, tmp_path).stop_on_failure is not keep_going


@pytest.mark.parametrize("example", ["trpc-app", "trpc-type-error", "trpc-failing-test"])
def test_the_examples(plan_of: PlanOf, example: str) -> None:
    files = {
        str(path.relative_to(EXAMPLES / example)): path.read_text()
        for path in (EXAMPLES / example).rglob("*.json")
        if "node_modules" not in path.parts
    }
    plan = plan_of({**files, "server/src/router.ts": ""})
    assert plan.reason.endswith("depends on @trpc/server; workspaces client, server")
    assert commands(plan) == {
        "install": "npm ci",
        "build": "npm run build",
        "typecheck client": "cd client && npx --no-install tsc --noEmit",
        "typecheck server": "cd server && npx --no-install tsc --noEmit",
        "test": "npm run test",
        "start": "export PORT=${PORT:-3000}\ncd server && exec npm run start",
    }
