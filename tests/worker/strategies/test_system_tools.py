"""Projects that need Git, Bash, a compiler or Python beside their language."""

from pathlib import Path

import pytest

from revalid.jobs.images import BUILT_IN
from revalid.jobs.job import DEFAULT_IMAGE, Job, StrategyName
from revalid.jobs.steps import Exec
from revalid.worker.strategies.dispatch import make_plan
from revalid.worker.strategies.system_tools import needed_system_tool
from tests.worker.strategies.conftest import Files, Make, PlanOf

BASH = "#!/usr/bin/env bash\necho\n"


def node(script: str, name: str = "build", **fields: object) -> Files:
    return {"package.json": {"scripts": {name: script, "test": "node --test"}, **fields}}


@pytest.mark.parametrize(
    ("files", "needs"),
    [
        (node("git rev-parse HEAD > version"), "git, for the script build in package.json"),
        (node("tsc && bash scripts/a.sh"), "bash, for the script build in package.json"),
        ({**node("./scripts/a.sh"), "scripts/a.sh": BASH}, "bash, for the script build"),
        (node("node-gyp rebuild", "install"), "node-gyp, for the script install"),
        (node("python3 gen.py && vite build"), "python3, for the script build"),
        (node("", dependencies={"a": "github:b/c#main"}), "git, for a dependency"),
        (
            node("", peerDependencies={"a": "git+https://example.com/a.git"}),
            "git, for a dependency",
        ),
        (node("git log", description="a" * 70_000), "git, for the script build in package.json"),
        ({**node(""), "binding.gyp": "{}"}, "a compiler, for binding.gyp"),
        ({**node("node stamp.js"), ".git/HEAD": "ref: x"}, "git, for the project reads"),
    ],
)
def test_what_a_node_project_needs(plan_of: PlanOf, files: Files, needs: str) -> None:
    plan = plan_of(files)
    assert plan.image == BUILT_IN["node-full"]["20"]
    assert f"image {plan.image}" in plan.notes[0]
    assert f"; it has {needs}" in plan.notes[0]


@pytest.mark.parametrize(
    "files",
    [
        node("vite build"),
        node("git push", "deploy"),
        {**node("./a.sh"), "a.sh": "#!/bin/sh\necho"},
        node("node git.js", dependencies={"simple-git": "^3", "bash-parser": "1"}),
        node("tsc", repository="git+https://example.com/a.git"),
        node("tsc", repository={"type": "git", "url": "git+https://example.com/a.git"}),
    ],
)
def test_other_node_projects_keep_the_small_image(plan_of: PlanOf, files: Files) -> None:
    assert plan_of(files).image == DEFAULT_IMAGE


@pytest.mark.parametrize(
    ("files", "language"),
    [
        ({"requirements.txt": "a @ git+https://example.com/a.git"}, "python-full"),
        ({"requirements.txt": "psycopg2==2.9"}, "python-full"),
        ({"requirements.txt": "psycopg2-binary==2.9"}, "python"),
        ({"requirements.txt": "", ".git/HEAD": "ref: x"}, "python-full"),
    ],
)
def test_what_a_python_project_needs(plan_of: PlanOf, files: Files, language: str) -> None:
    assert plan_of(files).image == BUILT_IN[language]["3.12"]


def test_the_version_that_the_project_asks_for_stays(plan_of: PlanOf) -> None:
    assert plan_of(node("git log", engines={"node": "22"})).image == BUILT_IN["node-full"]["22"]


def test_an_image_that_somebody_names_stays(plan_of: PlanOf) -> None:
    assert plan_of(node("git log"), image="node:22-alpine3.22").image == "node:22-alpine3.22"


def test_given_commands_count(plan_of: PlanOf, make: Make) -> None:
    given = {"strategy": StrategyName.COMMAND, "steps": (Exec(command="bash a.sh"),)}
    assert plan_of({"package.json": {}}, **given).image == BUILT_IN["node-full"]["20"]
    tree = make({"a.py": ""})
    assert needed_system_tool(tree, "python", ["python3 a.py"]) == ""
    assert needed_system_tool(tree, "python", ["git log"]) == "git, for a given command"


def test_a_session_needs_bash(plan_of: PlanOf) -> None:
    steps = (Exec(command="cd a"),)
    for strategy in (StrategyName.COMMAND, StrategyName.TRAJECTORY):
        given = {"strategy": strategy, "steps": steps}
        assert plan_of({"package.json": {}}, **given).image == DEFAULT_IMAGE
        plan = plan_of({"package.json": {}}, **given, session=True)
        assert plan.image == BUILT_IN["node-full"]["20"]
        assert "bash, for the session" in plan.notes[0]
    without_project = Job(strategy=StrategyName.TRAJECTORY, steps=steps, session=True)
    assert make_plan(without_project, Path("/nowhere")).image == BUILT_IN["node-full"]["20"]


def test_a_broken_manifest_needs_nothing(make: Make) -> None:
    for text in ("[", "[]", '{"scripts": []}', '{"scripts": {"build": 1}}', "{}"):
        assert needed_system_tool(make({"package.json": text}), "node") == ""
