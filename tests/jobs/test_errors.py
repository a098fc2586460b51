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
        name: found.__bases__[0].__name__
        for name, found in inspect.getmembers(errors, inspect.isclass)
    }
    assert real == printed_tree()


@pytest.mark.parametrize("name", printed_tree())
def test_an_error_survives_a_pickle(name: str) -> None:
    made: RevalidError = getattr(errors, name)(
        "broker unix:///b is full: raise its maxmemory", job_id="b13f", retry_after_s=2.5
    )
    copy = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert (type(copy), str(copy), copy.args) == (type(made), str(made), made.args)
    assert isinstance(copy, RevalidError)
    assert (copy.job_id, copy.retry_after_s) == ("b13f", 2.5)


def test_a_result_that_comes_too_late_is_a_timeout() -> None:
    with pytest.raises(TimeoutError, match="wait longer"):
        raise errors.ResultTimeout("job b13f is still running: wait longer", job_id="b13f")
