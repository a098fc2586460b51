"""Pages without a manifest have their links checked, and nothing more is claimed."""

import pytest

from revalid.jobs.errors import InvalidProject
from tests.worker.strategies.conftest import PlanOf, commands


@pytest.mark.parametrize(("path", "root"), [("index.html", "."), ("public/index.html", "public")])
def test_the_links_of_pages_are_checked(plan_of: PlanOf, path: str, root: str) -> None:
    plan = plan_of({path: "<p>hello"})
    assert plan.strategy == "static"
    assert commands(plan)["links"].startswith(f"python3 -I - {root} <<")
    assert "only the links between its own files were checked" in plan.notes
    assert plan.image == "python:3.12-slim"


def test_pages_beside_a_manifest_are_not_its_kind(plan_of: PlanOf) -> None:
    assert plan_of({"index.html": "", "package.json": "{}"}).strategy == "npm"


def test_other_pages_are_no_site(plan_of: PlanOf) -> None:
    with pytest.raises(InvalidProject, match="no strategy fits"):
        plan_of({"mail.html": ""})
