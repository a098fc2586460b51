"""How large a text is in JSON, and texts that are cut to that."""

import json
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from revalid.jobs.encoding import json_size, within
from revalid.jobs.result import StepResult
from tests.growth import outgrows

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def in_result(text: str) -> int:
    """Bytes that a text adds to a result's JSON."""
    empty = StepResult(name="").model_dump_json()
    return len(StepResult(name="", stdout=text).model_dump_json().encode()) - len(empty)


@pytest.mark.parametrize(
    "text", ["", "a", "\0", "\n", '"', "\\", "\x1f", "\x7f", "ü", "\ufffd", "😀"]
)
def test_the_size_is_that_in_a_result(text: str) -> None:
    assert json_size(text * 10) == in_result(text * 10)


@given(ANY_TEXT)
@settings(deadline=None, database=None)
def test_the_size_is_that_in_a_result_whatever_the_text(text: str) -> None:
    assert json_size(text) == in_result(text)


@given(ANY_TEXT, st.integers(0, 200))
@settings(deadline=None, database=None)
def test_a_text_is_cut_in_its_middle(text: str, most: int) -> None:
    cut = within(text, most)
    if json_size(text) <= most:
        assert cut == text
        return
    head, _, rest = cut.rpartition("\n[revalid: ")
    number, _, tail = rest.partition(" characters left out]\n")
    assert json_size(head) <= most // 2
    assert json_size(tail) <= most // 2
    assert text.startswith(head)
    assert text.endswith(tail)
    assert int(number) == len(text) - len(head) - len(tail)


@pytest.mark.parametrize("piece", ["\0", "a", "\n", "😀"])
def test_cutting_takes_time_linear_in_the_text(piece: str) -> None:
    def work(size: int) -> Callable[[], object]:
        text = piece * size
        return lambda: within(text, size)

    assert not outgrows(work, 10_000, 640_000)


def test_a_cut_text_is_valid_json() -> None:
    assert json.loads(json.dumps(within("\0" * 1_000, 100))).count("\0") == 16
