"""The configuration of a project changes its plan, and can only take away from a verdict."""

from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.errors import InvalidProject
from revalid.jobs.images import BUILT_IN
from revalid.jobs.job import Job, StrategyName
from revalid.jobs.services import Service, ServiceKind
from revalid.jobs.source import PathSource
from revalid.jobs.steps import Exec
from revalid.worker.strategies.dispatch import Plan, make_plan
from tests.worker.strategies.conftest import Files, Make, PlanOf, commands, skips, steps_by_name

NODE: Files = {
    "package.json": {
        "scripts": {"build": "tsc", "test": "vitest run", "start": "node server.js"},
        "dependencies": {"pg": "8"},
    }
}
PATH = 'export PATH="$PWD/node_modules/.bin:$PWD/.venv/bin:$PATH"\n'


def node(text: str) -> Files:
    """A Node project with this configuration."""
    return {**NODE, "revalid.toml": text}


def job_of(plan: Plan) -> Job:
    assert plan.job is not None
    return plan.job


def test_a_skipped_check_is_left_out_and_decides(plan_of: PlanOf) -> None:
    plan = plan_of(node('skip = ["tests"]'))
    assert skips(plan)["test"] == "left out by revalid.toml"
    assert not steps_by_name(plan)["test"].absent
    assert "revalid.toml configures this job: skip" in plan.notes
    assert job_of(plan).skip == ()


def test_what_the_caller_skips_is_the_callers(plan_of: PlanOf) -> None:
    plan = plan_of(node('skip = ["tests"]'), skip=("tests",))
    assert "test" not in skips(plan)  # the replay skips it, in the caller's name


def test_what_the_caller_requires_is_not_left_out(plan_of: PlanOf) -> None:
    plan = plan_of(node('skip = ["tests"]'), require=("tests",))
    assert "test" not in skips(plan)


def test_the_caller_can_ignore_it_whole(plan_of: PlanOf) -> None:
    plan = plan_of(node('skip = ["tests"]\nnonsense = 1'), project_config=False)
    assert "test" not in skips(plan)
    assert not any("revalid.toml" in note for note in plan.notes)


def test_a_trajectory_does_not_read_it(plan_of: PlanOf) -> None:
    plan = plan_of(node("nonsense = 1"), StrategyName.TRAJECTORY, steps=(Exec(command="true"),))
    assert len(plan.steps) == 1


def test_given_commands_stay_and_the_rest_applies(plan_of: PlanOf) -> None:
    text = 'skip = ["tests"]\nrequire = ["build"]\nartifacts = ["dist"]\n[env]\nA = "1"\n'
    text += "[[commands]]\nname = 'own'\nrun = 'make'"
    plan = plan_of(node(text), StrategyName.COMMAND, steps=(Exec(command="make test"),))
    assert [step.step for step in plan.steps] == [Exec(command="make test")]
    assert (job_of(plan).artifacts, job_of(plan).env) == (("dist",), {"A": "1"})


def test_own_commands_run_after_what_was_found(plan_of: PlanOf) -> None:
    text = "[[commands]]\nname = 'smoke'\nrun = 'node smoke.js'\n"
    text += "[[commands]]\nname = 'test'\nrun = 'node --test'\n"
    text += "[[commands]]\nname = 'nothing'\nrun = 'echo ok && true'\n"
    plan = plan_of(node(text))
    assert {"install", "build", "test"} <= commands(plan).keys()
    *_, smoke, test, nothing = plan.steps
    assert smoke.step == Exec(name="smoke", command=f"{PATH}node smoke.js")
    assert (smoke.check, smoke.depends_on) == (CheckName.COMMAND, ("install",))
    assert [service.kind for service in smoke.services] == [ServiceKind.POSTGRES]
    assert test.step == Exec(name="test (revalid.toml)", command=f"{PATH}node --test")
    assert (nothing.skipped_reason, nothing.absent) == (
        "it checks nothing: echo ok && true",
        True,
    )


def test_own_commands_are_enough_where_no_strategy_fits(plan_of: PlanOf) -> None:
    text = "[[commands]]\nname = 'make'\nrun = 'make test'"
    plan = plan_of({"revalid.toml": text, "Makefile": ""})
    assert plan.strategy is StrategyName.COMMAND
    assert commands(plan) == {"make": f"{PATH}make test"}
    with pytest.raises(InvalidProject, match="no strategy fits"):
        plan_of({"revalid.toml": 'artifacts = ["dist"]', "Makefile": ""})


def test_own_commands_do_not_stand_for_another_language(plan_of: PlanOf) -> None:
    text = "[[commands]]\nname = 'make'\nrun = 'make test'"
    plan = plan_of({"revalid.toml": text, "mix.exs": ""})
    assert any(step.skipped_reason is not None and not step.absent for step in plan.steps), (
        "the job cannot pass"
    )


@pytest.mark.parametrize(
    ("fields", "text", "expected"),
    [
        ({}, 'flaky = "pass"\nexpect_tests = 3', ("pass", 3, None)),
        (
            {"flaky": "fail", "expect_tests": 9},
            'flaky = "pass"\nexpect_tests = 3',
            ("fail", 9, None),
        ),
        ({"skip": ("tests",)}, "expect_tests = 3", (None, None, None)),
        ({}, "services = ['redis']", (None, None, (Service(kind=ServiceKind.REDIS),))),
        ({"services": ()}, "services = ['redis']", (None, None, ())),
    ],
)
def test_the_callers_values_win(
    plan_of: PlanOf, fields: dict[str, Any], text: str, expected: tuple[Any, ...]
) -> None:
    job = job_of(plan_of(node(text), **fields))
    assert (job.flaky, job.expect_tests, job.services) == expected


def test_lists_are_joined(plan_of: PlanOf) -> None:
    text = 'require = ["tests", "lint"]\nartifacts = ["dist", "a"]'
    job = job_of(
        plan_of(node(text), require=("build",), skip=("lint",), artifacts=("a", "**/junit.xml"))
    )
    assert (job.require, job.skip) == (("build", "tests"), ("lint",))
    assert job.artifacts == ("a", "**/junit.xml", "dist")


def test_a_flaky_test_that_only_the_project_lets_pass_is_named(plan_of: PlanOf) -> None:
    text = 'flaky = "pass"'
    assert plan_of(node(text)).weakens_flaky == "revalid.toml"
    assert plan_of(node(text), flaky="pass").weakens_flaky == ""
    assert plan_of(node('flaky = "fail"')).weakens_flaky == ""


def test_services_that_are_taken_out_are_named(plan_of: PlanOf) -> None:
    plan = plan_of(node("services = []"))
    (missing,) = plan.left_out
    assert missing.words == (
        "tests: postgres (package.json depends on pg) left out by revalid.toml"
    )
    assert missing.decides
    assert plan_of(node("services = ['postgres']")).left_out == ()
    assert plan_of(node("services = []"), services=()).left_out == ()
    untested = {"package.json": {"scripts": {"build": "tsc"}, "dependencies": {"pg": "8"}}}
    assert plan_of({**untested, "revalid.toml": "services = []"}).left_out == ()


@pytest.mark.parametrize("image", ["evil/postgres", "postgres:17/x", "localhost:5000/postgres:17"])
def test_only_well_known_images_serve(plan_of: PlanOf, image: str) -> None:
    with pytest.raises(InvalidProject, match=r"services"):
        plan_of(node(f"services = ['postgres={image}']"))


def test_a_variable_of_the_worker_or_the_caller_is_not_replaced(
    project: Path, make: Make, plan_of: PlanOf
) -> None:
    text = '[env]\nDATABRICKS_HOST = "https://evil.example"\nTOKEN = "x"\nA = "1"\nB = "1"'
    make(node(text))
    source = PathSource(path=str(project))
    job = Job(source=source, env={"A": "2"}, secrets={"TOKEN": "env://TOKEN"})
    plan = make_plan(job, project, forwarded=("DATABRICKS_HOST", "TOKEN"))
    assert job_of(plan).env == {"A": "2", "B": "1"}
    assert "revalid.toml: env DATABRICKS_HOST, TOKEN is not taken: the worker sets it" in plan.notes


def test_an_image_of_the_table_may_be_named(plan_of: PlanOf) -> None:
    plan = plan_of(node('image = "node:22-bookworm"'))
    assert plan.image == "node:22-bookworm"
    assert plan_of(node('image = "node:22-bookworm"'), image="node:24").image == "node:24"


@pytest.mark.parametrize("image", ["evil/node:22", "registry.evil/node:22", "busybox", "nodes:22"])
def test_no_other_image_may_be_named(plan_of: PlanOf, image: str) -> None:
    with pytest.raises(InvalidProject, match=r"a project may name images of .*, rust only"):
        plan_of(node(f'image = "{image}"'))
    assert plan_of(node(f'image = "{image}"'), image="node:24").image == "node:24"
    with pytest.raises(InvalidProject, match="a project may name images of"):
        plan_of(NODE, matrix={"image": image}, project_config=False)


def test_an_entry_of_the_matrix_decides_the_image(plan_of: PlanOf) -> None:
    text = "[matrix]\nnode = [20, 22]"
    plan = plan_of(node(text), matrix={"node": "22"})
    assert plan.image == BUILT_IN["node"]["22"]
    assert not any("matrix (" in note for note in plan.notes)
    assert plan_of(NODE, matrix={"python": "3.13"}).image == BUILT_IN["python"]["3.13"]
    with pytest.raises(InvalidProject, match="no image for node 21: this worker has 20, 22"):
        plan_of(NODE, matrix={"node": "21"})


def test_a_matrix_that_was_not_run_is_noted(plan_of: PlanOf) -> None:
    plan = plan_of(node("[matrix]\nnode = [20, 22]"))
    assert "revalid.toml: this job ran none of its matrix (node 20, node 22) by name" in plan.notes


def test_start_is_configured(plan_of: PlanOf) -> None:
    text = '[start]\npath = "/ready"\nport = 4000'
    (found,) = [s for s in plan_of(node(text)).steps if s.check is CheckName.START]
    assert isinstance(found.step, Exec)
    assert found.step.command.startswith("export PORT=4000\n")
    assert found.step.command.endswith("npm run start")
    assert found.probe is not None
    assert (found.probe.paths, found.probe.port) == (("/ready",), 4000)
    assert plan_of(node(text)).left_out == ()
    text = '[start]\ncommand = "exec node other.js"'
    plan = plan_of(node(text))
    assert [item.words for item in plan.left_out] == ["start: start replaced by revalid.toml"]
    (given,) = [s for s in plan.steps if s.check is CheckName.START]
    assert isinstance(given.step, Exec)
    assert given.step.command.endswith(f"{PATH}exec node other.js")
    assert given.depends_on == ("install", "build")
    assert given.step.allow_failure
    with pytest.raises(InvalidProject, match=r"start: no server was found"):
        plan_of({"package.json": {"scripts": {"test": "x"}}, "revalid.toml": '[start]\npath = "/"'})


def test_an_overlay_replaces_it_and_is_trusted(project: Path, make: Make, tmp_path: Path) -> None:
    make(node('skip = ["build"]\nflaky = "fail"'))
    overlay = tmp_path / "trusted"
    overlay.mkdir()
    text = 'skip = ["tests"]\nflaky = "pass"\nservices = []'
    (overlay / "revalid.toml").write_text(text)
    plan = make_plan(Job(source=PathSource(path=str(project))), project, overlay=overlay)
    assert skips(plan)["test"] == "left out by revalid.toml of the overlay"
    assert "build" not in skips(plan)
    assert steps_by_name(plan)["test"].absent
    assert plan.weakens_flaky == ""
    assert not any(missing.decides for missing in plan.left_out)


def test_beside_an_overlay_without_one_none_counts(
    project: Path, make: Make, tmp_path: Path
) -> None:
    overlay = tmp_path / "trusted"
    overlay.mkdir()
    source = PathSource(path=str(project))
    for text in ('skip = ["tests"]', "nonsense = 1"):
        make(node(text))
        plan = make_plan(Job(source=source), project, overlay=overlay)
        assert "test" not in skips(plan)


def test_links_out_of_the_project_are_not_read(
    project: Path, make: Make, plan_of: PlanOf, tmp_path: Path
) -> None:
    (tmp_path / "outside.toml").write_text('skip = ["tests"]')
    make(NODE)
    (project / "revalid.toml").symlink_to(tmp_path / "outside.toml")
    assert "test" not in skips(plan_of(NODE))
    (project / "revalid.toml").unlink()
    (project / "inner.toml").write_text('skip = ["tests"]')
    (project / "revalid.toml").symlink_to("inner.toml")
    assert "test" in skips(plan_of(NODE))


def test_a_wrong_configuration_refuses_the_project(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match=r"revalid.toml:1: skp: no such key"):
        plan_of(node("skp = []"))
