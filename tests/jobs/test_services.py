"""Services as a job declares them."""

from typing import Any

import pytest
from pydantic import ValidationError

from revalid.jobs.services import Service

OTHER = {"kind": "other", "name": "search", "image": "search:1", "port": 7700}


def test_a_known_kind_has_the_document_that_it_always_had() -> None:
    assert Service.model_validate({"kind": "redis"}).model_dump() == {
        "kind": "redis",
        "image": None,
    }


def test_another_kind_has_what_it_needs_to_start() -> None:
    fields = {**OTHER, "ready": "/health", "env": {"KEY": "x"}}
    assert Service.model_validate(fields).model_dump() == fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "other", "name": "search", "image": "search:1"}, "needs name, image and port"),
        ({"kind": "redis", "port": 6379}, "are for kind 'other'"),
        ({**OTHER, "name": "Search_1"}, "is no name of a service"),
        ({**OTHER, "name": "postgres"}, "is no name of a service"),
        ({**OTHER, "env": {"A B": "x"}}, "is not a variable name"),
        ({**OTHER, "env": {"A": "x\0"}}, "pattern"),
        ({**OTHER, "ready": "health"}, "pattern"),
        ({**OTHER, "ready": "/a; reboot"}, "pattern"),
        ({**OTHER, "port": 0}, "greater than"),
    ],
)
def test_a_service_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Service.model_validate(fields)
