"""An image is built where nothing else is known of a project."""

import pytest

from tests.worker.strategies.conftest import PlanOf, skips


def test_the_build_of_the_image_is_the_check(plan_of: PlanOf) -> None:
    plan = plan_of({"Dockerfile": "FROM scratch\n"})
    (step,) = plan.steps
    assert (plan.strategy, step.dockerfile, step.skipped_reason) == (
        "dockerfile",
        "Dockerfile",
        None,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# syntax=evil/frontend\nFROM scratch\n", "its syntax evil/frontend is a program"),
        ("FROM a\nRUN --security=insecure id\n", "it asks for --security, which is not given"),
        ("FROM a\nRUN --network=host id\n", "it asks for --network, which is not given"),
        ("FROM a\nRUN --mount=type=ssh id\n", "it asks for --mount=type=ssh"),
    ],
)
def test_a_build_with_rights_of_its_own_is_unproven(
    plan_of: PlanOf, text: str, reason: str
) -> None:
    plan = plan_of({"Dockerfile": text})
    assert skips(plan)["image"].startswith(reason)
    assert not plan.steps[0].absent


def test_docker_s_own_syntax_is_known(plan_of: PlanOf) -> None:
    plan = plan_of({"Dockerfile": "# syntax=docker/dockerfile:1\nFROM scratch\n"})
    assert skips(plan) == {}


def test_a_language_goes_first(plan_of: PlanOf) -> None:
    plan = plan_of({"Dockerfile": "FROM scratch\n", "requirements.txt": ""})
    assert plan.strategy == "python"
