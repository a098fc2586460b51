"""Questions from railpack's Node and Python examples, which say whether they run."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.exam.manifest import Question

_EXAMPLE = re.compile(r"(?:node|python)-")
_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
_TRAILING_COMMA = re.compile(r",(?=\s*[\]}])")


def is_collection(collection: Path) -> bool:
    """Return whether a directory is a checkout of railpack."""
    return (collection / "examples/node-npm/test.json").is_file()


def questions(collection: Path, exam: Path) -> Iterator[Question]:
    """Copy each Node and Python example, and yield it.

    Nothing is known of their checks: only a failure of an example that runs is wrong. An example
    with nothing to check is rejected.
    """
    for spec in sorted(collection.glob("examples/*/test.json")):
        example = spec.parent
        if _EXAMPLE.match(example.name):
            name = f"railpack/{example.name}"
            shutil.copytree(example, exam / name, symlinks=True)
            cases = json.loads(_TRAILING_COMMA.sub("", _COMMENT.sub("", spec.read_text())))
            fails = all(case.get("shouldFail", False) for case in cases)
            right = "failed" if fails else "passed or incomplete or rejected"
            yield Question(name, exam / name, right)
