"""The names of checks that a job chooses."""

from typing import get_args

from revalid.jobs.checks import CheckName, ChosenCheck
from revalid.jobs.job import Job
from tests.jobs.samples import SOURCE


def test_each_chosen_check_is_a_check() -> None:
    assert {*get_args(ChosenCheck)} == {*CheckName} - {"install", "command"}


def test_chosen_checks_are_a_set() -> None:
    twice = Job(source=SOURCE, require=("tests", "build", "tests"))
    assert twice.require == ("build", "tests")
    assert twice.id == Job(source=SOURCE, require=("build", "tests")).id
