"""Trajectories from files."""

import re
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidJob
from revalid.jobs.steps import Exec, WriteFile
from revalid.producer.cli.trajectory import read_trajectory


def test_a_trajectory_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"op": "write_file", "path": "a", "content": "é\u2028x"}\n\n{"op": "exec", "command": "b"}'
    )
    assert read_trajectory(file) == [
        WriteFile(path="a", content="é\u2028x"),
        Exec(command="b"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"op": "exec", "command": "a"}\n{"op": ', "line 2: not JSON"),
        ('{"op": "fly"}', "line 1: Input tag 'fly'"),
        ('{"op": "exec"}', "line 1: exec.command: Field required"),
        ("[" * 100_000, "line 1: not JSON"),
        ("\n \n", "it has no steps"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_a_line_that_is_not_a_step_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidJob, match=re.escape(f"trajectory {file}") + ".*" + re.escape(said)):
        read_trajectory(file)
