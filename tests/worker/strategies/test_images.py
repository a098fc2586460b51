"""The image follows from the versions that a project asks for."""

from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.images import BUILT_IN
from revalid.jobs.job import DEFAULT_IMAGE, Job
from revalid.jobs.source import PathSource
from revalid.worker.strategies.dispatch import make_plan
from tests.worker.strategies.conftest import Files, Make, PlanOf

NODE22 = "node:22-alpine3.22"


def node(**fields: Any) -> Files:
    """A Node project with fields of its manifest."""
    return {"package.json": {"scripts": {"test": "node --test"}, **fields}}


def poetry(constraint: str) -> Files:
    """A project of Poetry."""
    return {"pyproject.toml": f'[tool.poetry.dependencies]\npython = "{constraint}"'}


@pytest.mark.parametrize(
    ("files", "image"),
    [
        (node(), DEFAULT_IMAGE),
        (node(engines={"node": ">=18"}), DEFAULT_IMAGE),
        (node(engines={"node": ">=22.5"}), NODE22),
        (node(engines={"node": "^22.0.0"}), NODE22),
        (node(engines={"node": "22.x"}), NODE22),
        (node(engines={"node": ">= 18 <20"}), "node:18-alpine3.21"),
        (node(engines={"node": "18 || >=23"}), "node:24-alpine3.22"),
        (node(engines={"node": "20 - 22"}), DEFAULT_IMAGE),
        (node(engines={"node": ">20"}), NODE22),
        (node(engines={"node": "<20.5"}), "node:18-alpine3.21"),
        (node(volta={"node": "22.1.0"}), NODE22),
        ({**node(engines={"node": ">=18"}), ".nvmrc": "v22\n"}, NODE22),
        ({**node(), ".nvmrc": "lts/jod\n"}, NODE22),
        ({**node(), ".node-version": "24.1.0\n"}, "node:24-alpine3.22"),
        ({"requirements.txt": ""}, "python:3.12-slim"),
        ({"pyproject.toml": '[project]\nname="a"\nrequires-python=">=3.13"'}, "python:3.13-slim"),
        ({"pyproject.toml": '[project]\nname="a"\nrequires-python="<3.12"'}, "python:3.11-slim"),
        ({"requirements.txt": "", ".python-version": "3.11.4\n"}, "python:3.11-slim"),
        (poetry("^3.13"), "python:3.13-slim"),
        (poetry("~3.11"), "python:3.11-slim"),
        (poetry("3.10.*"), "python:3.10-slim"),
        (poetry(">=3.9,<3.12"), "python:3.11-slim"),
        ({**node(), ".nvmrc": "# ours\nv22 # why\n"}, NODE22),
        ({**node(), ".tool-versions": "python 3.11.2\nnodejs 22.11.0 20.1.0\n"}, NODE22),
        ({**node(), "mise.toml": '[tools]\nnode = ["22", "20"]'}, NODE22),
        ({**node(), ".mise.toml": "[tools]\nnode = {version = '24'}"}, "node:24-alpine3.22"),
        ({"requirements.txt": "", ".tool-versions": "python 3.13.1\n"}, "python:3.13-slim"),
        ({"requirements.txt": "", "mise.toml": '[tools]\npython = "3.11"'}, "python:3.11-slim"),
        ({"requirements.txt": "", "runtime.txt": "python-3.10.14\n"}, "python:3.10-slim"),
        (
            {"requirements.txt": "", "environment.yml": "dependencies:\n  - python=3.11\n"},
            "python:3.11-slim",
        ),
        (
            {"requirements.txt": "", "environment.yml": "dependencies:\n  - python >=3.13\n"},
            "python:3.13-slim",
        ),
        ({"Pipfile": '[requires]\npython_version = "3.11"'}, "python:3.11-slim"),
        (
            {"setup.py": "", "setup.cfg": "[options]\npython_requires = >=3.13\n"},
            "python:3.13-slim",
        ),
        ({"pyproject.toml": '[project]\nrequires-python="<=3.11"'}, "python:3.10-slim"),
    ],
)
def test_the_image_fits_the_project(plan_of: PlanOf, files: Files, image: str) -> None:
    plan = plan_of(files)
    assert plan.image == image
    assert any(image in note for note in plan.notes) is (image != DEFAULT_IMAGE)


def test_a_named_image_wins_and_a_contradiction_is_noted(plan_of: PlanOf) -> None:
    plan = plan_of(node(engines={"node": ">=22"}), image="node:20-bookworm")
    assert plan.image == "node:20-bookworm"
    assert plan.notes[0] == (
        "engines in package.json asks for node >=22, and the image is node:20-bookworm: "
        "name another with --image"
    )
    assert plan_of({"requirements.txt": ""}, image="alpine:3.22").image == "alpine:3.22"


def test_a_version_that_no_image_has_is_noted(plan_of: PlanOf) -> None:
    plan = plan_of(node(engines={"node": ">=99"}))
    assert plan.image == DEFAULT_IMAGE
    assert plan.notes[0].startswith("no known image fits node >=99 of engines in package.json")


@pytest.mark.parametrize(
    ("files", "image", "note"),
    [
        (
            {**node(), ".nvmrc": "20.3.0"},
            DEFAULT_IMAGE,
            f"image {DEFAULT_IMAGE}, for .nvmrc asks for node 20.3.0; its newest release of that "
            "major version runs",
        ),
        (
            node(engines={"node": "words"}),
            DEFAULT_IMAGE,
            "node words of engines in package.json is no version that revalid can read: took "
            f"{DEFAULT_IMAGE}",
        ),
        (
            {**node(), ".nvmrc": "lts/gallium"},
            DEFAULT_IMAGE,
            f"no known image fits node lts/gallium of .nvmrc: took {DEFAULT_IMAGE}",
        ),
        (
            {"requirements.txt": "", ".python-version": "pypy3.10\n"},
            "python:3.12-slim",
            "Python pypy3.10 of .python-version is no version that revalid can read: took "
            "python:3.12-slim",
        ),
        (
            {"pyproject.toml": '[project]\nrequires-python="==3.11.4"'},
            "python:3.11-slim",
            "image python:3.11-slim, for requires-python asks for Python ==3.11.4; its newest "
            "release of 3.11 runs",
        ),
        (
            {"pyproject.toml": '[project]\nrequires-python="<3"'},
            "python:3.12-slim",
            "no known image fits Python <3 of requires-python: took python:3.12-slim",
        ),
    ],
)
def test_what_no_tag_says_exactly_is_noted(
    plan_of: PlanOf, files: Files, image: str, note: str
) -> None:
    plan = plan_of(files)
    assert (plan.image, plan.notes[0]) == (image, note)


def test_a_named_python_image_is_compared_too(plan_of: PlanOf) -> None:
    files = {"pyproject.toml": '[project]\nname="a"\nrequires-python=">=3.13"'}
    plan = plan_of(files, image="registry.internal/python:3.12-slim")
    assert plan.notes[0] == (
        "requires-python asks for Python >=3.13, and the image is "
        "registry.internal/python:3.12-slim: name another with --image"
    )


def test_the_default_image_can_be_named(plan_of: PlanOf) -> None:
    plan = plan_of(node(engines={"node": ">=22"}), image=DEFAULT_IMAGE, fixed_image=True)
    assert plan.image == DEFAULT_IMAGE
    assert "asks for node >=22" in plan.notes[0]


def test_the_worker_has_a_table_of_its_own(project: Path, make: Make) -> None:
    images = {"node": {"22": "registry.internal/node:22", "24": "registry.internal/node:24"}}

    def image_of(files: Files) -> tuple[str, str]:
        make(files)
        job = Job(source=PathSource(path=str(project)))
        plan = make_plan(job, project, None, {**BUILT_IN, **images})
        return plan.image, plan.notes[0]

    assert image_of(node()) == (
        "registry.internal/node:22",
        "image registry.internal/node:22, for it is a Node project",
    )
    assert image_of(node(engines={"node": ">=23"}))[0] == "registry.internal/node:24"
    assert image_of(node(engines={"node": "20"})) == (
        "registry.internal/node:22",
        "no known image fits node 20 of engines in package.json: took registry.internal/node:22",
    )


def test_both_languages_are_tried_in_the_image_of_node(plan_of: PlanOf) -> None:
    assert plan_of({**node(), "api/requirements.txt": ""}).image == DEFAULT_IMAGE
