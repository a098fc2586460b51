"""Numbers with the thing that they count."""

import pytest

from revalid.jobs.counted import counted


@pytest.mark.parametrize(("number", "words"), [(0, "0 tests"), (1, "1 test"), (2, "2 tests")])
def test_only_one_is_singular(number: int, words: str) -> None:
    assert counted(number, "test") == words
