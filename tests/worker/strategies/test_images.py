"""The image follows from the versions that a project asks for."""

from typing import Any

import pytest

from revalid.jobs.job import DEFAULT_IMAGE
from tests.worker.strategies.conftest import Files, PlanOf

NODE22 = "node:22-alpine3.22"


def node(**fields: Any) -> Files:
    """A Node project with fields of its manifest."""
    return {"package.json": {"scripts": {"test": "node --test"}, **fields}}


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
        (node(engines={"node": "words"}), DEFAULT_IMAGE),
        (node(volta={"node": "22.1.0"}), NODE22),
        ({**node(engines={"node": ">=18"}), ".nvmrc": "v22\n"}, NODE22),
        ({**node(), ".nvmrc": "lts/jod\n"}, NODE22),
        ({**node(), ".node-version": "24.1.0\n"}, "node:24-alpine3.22"),
        ({"requirements.txt": ""}, "python:3.12-slim"),
        ({"pyproject.toml": '[project]\nname="a"\nrequires-python=">=3.13"'}, "python:3.13-slim"),
        ({"pyproject.toml": '[project]\nname="a"\nrequires-python="<3.12"'}, "python:3.11-slim"),
        ({"requirements.txt": "", ".python-version": "3.11.4\n"}, "python:3.11-slim"),
        (
            {"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.13"'},
            "python:3.13-slim",
        ),
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


def test_both_languages_are_tried_in_the_image_of_node(plan_of: PlanOf) -> None:
    assert plan_of({**node(), "api/requirements.txt": ""}).image == DEFAULT_IMAGE
