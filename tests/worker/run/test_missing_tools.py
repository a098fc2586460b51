"""Names that an output calls not found; tests of replays ask a sandbox for them."""

import pytest

from revalid.jobs.result import StepResult
from revalid.worker.run.missing_tools import tools_not_found


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("sh: 1: git: not found", "git"),
        ("/bin/sh: bash: not found", "bash"),
        ("bash: line 3: jq: command not found", "jq"),
        ("env: can't execute 'bash': No such file or directory", "bash"),
        ("Error: spawn git ENOENT", "git"),
        ("gyp ERR! stack Error: not found: make", "make"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'git'", "git"),
        ("ERROR: Cannot find command 'git' - do you have 'git' installed", "git"),
        ('go: exec: "git": executable file not found in $PATH', "git"),
    ],
)
def test_a_tool_that_was_not_found_is_named(text: str, tool: str) -> None:
    for fields in ({"stderr": text}, {"stdout": text}):
        assert tools_not_found(StepResult(name="build", exit_code=1, **fields)) == [tool]


@pytest.mark.parametrize("text", ["", "404: not found", "cat: nope.txt: No such file", "git: ok"])
def test_other_words_name_none(text: str) -> None:
    assert tools_not_found(StepResult(name="build", exit_code=1, stderr=text)) == []
