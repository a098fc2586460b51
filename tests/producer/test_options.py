"""Options whose names or shapes are wrong, for callers without a type checker."""

from typing import Any

import pytest

from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import Limits
from revalid.producer.options import check_options


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"commands": "npm test"}, r"commands: give a list, such as commands=\['npm test'\]"),
        ({"artifacts": b"dist"}, "artifacts: give a list"),
        ({"steps": {"op": "exec"}}, "steps: give a list"),
        ({"labels": "app=shop"}, "labels: 'app=shop' is not a mapping"),
        ({"env": ["A=1"]}, "env: .* is not a mapping"),
        ({"limits": 600}, "limits: 600 is not a mapping"),
    ],
)
def test_a_wrong_shape_gives_a_clear_error(option: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        check_options(option)


def test_an_unknown_name_is_an_error_that_suggests_the_nearest() -> None:
    with pytest.raises(
        TypeError, match=r"no option 'stragety' of a job; did you mean 'strategy'\?"
    ):
        check_options({"stragety": "npm"})


def test_right_options_pass() -> None:
    check_options({"commands": ("npm test",), "labels": None, "limits": Limits(), "env": {}})
