"""The error tree as it is printed, and errors that travel between processes."""

import ast
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from revalid.jobs import errors
from revalid.jobs.errors import RevalidError

ROOT = Path(__file__).parents[2]


def raised() -> Iterator[tuple[str, ast.Call]]:
    """Each place where an error of the tree is made, and the call that makes it."""
    names = printed_tree()
    for folder in ("jobs", "worker", "producer"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in names
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


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


def test_an_error_about_a_job_carries_its_id() -> None:
    about_jobs = [
        (place, call)
        for place, call in raised()
        if 'f"job {' in ast.unparse(call).replace("'", '"')
    ]
    assert len(about_jobs) > 10
    assert not [
        place for place, call in about_jobs if "job_id" not in {k.arg for k in call.keywords}
    ]


def test_errors_of_full_stores_say_when_to_retry() -> None:
    full = [
        (place, call)
        for place, call in raised()
        if isinstance(call.func, ast.Name) and call.func.id in ("QueueFull", "StoreFull")
    ]
    assert len(full) == 3
    for place, call in full:
        assert {"job_id", "retry_after_s"} <= {word.arg for word in call.keywords}, place
