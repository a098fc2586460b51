"""The error tree as it is printed, and errors that travel between processes."""

import inspect
import pickle

import pytest

from revalid.jobs import errors
from revalid.jobs.errors import RevalidError


def printed_tree() -> dict[str, str]:
    """Each printed class with the one that it is indented below."""
    tree: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in inspect.getdoc(errors).split("::\n")[1].splitlines():  # type: ignore[union-attr]
        indent = len(line) - len(line.lstrip())
        if not indent:
            continue
        name = line.split()[0]
        while above and above[-1][0] >= indent:
            above.pop()
        tree[name] = above[-1][1] if above else "Exception"
        above.append((indent, name))
    return tree


def test_the_printed_tree_is_the_real_one() -> None:
    real = {
        name: [base.__name__ for base in found.__bases__]
        for name, found in inspect.getmembers(errors, inspect.isclass)
    }
    assert real == {name: [parent] for name, parent in printed_tree().items()}


@pytest.mark.parametrize("name", printed_tree())
def test_an_error_survives_a_pickle(name: str) -> None:
    made: RevalidError = getattr(errors, name)("broker unix:///b is full: raise its maxmemory")
    copy = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert (type(copy), str(copy), copy.args) == (type(made), str(made), made.args)
    assert isinstance(copy, RevalidError)
