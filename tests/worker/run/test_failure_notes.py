"""Notes that explain a failed step."""

import re
from pathlib import Path

import pytest

from revalid.jobs.result import StepResult
from revalid.jobs.source import LeftOut
from revalid.worker.run import failure_notes as module
from revalid.worker.run.failure_notes import (
    MAX_NOTES,
    failure_notes,
    pointer_notes,
    scripts_with_crlf,
)

LIB = LeftOut(path="src/lib/", rule="lib/ in .gitignore")
ENV = LeftOut(path="config/app.local.json", rule="*.local.json in .gitignore")


def notes(text: str, *crlf: str, exit_code: int = 1) -> list[str]:
    step = StepResult(name="test", exit_code=exit_code, stderr=text)
    return failure_notes([step], [LIB, ENV], crlf)


@pytest.mark.parametrize(
    "text",
    [
        "Error: Cannot find module '/workspace/src/lib/card.js'",
        "src/a.ts(1,19): error TS2307: Cannot find module './lib/card' or its type declarations.",
        'Could not resolve "../lib/card"',
        "ModuleNotFoundError: No module named 'lib.card'",
    ],
)
def test_a_missing_file_that_was_left_out_is_named(text: str) -> None:
    assert notes(text) == ["test: src/lib/ was left out of the upload: lib/ in .gitignore"]


def test_a_missing_file_is_named_by_its_name() -> None:
    text = "ENOENT: no such file or directory, open 'config/app.local.json'"
    (note,) = notes(text)
    assert note.startswith("test: config/app.local.json was left out")


@pytest.mark.parametrize(
    "text",
    [
        "Error: Cannot find module 'library'",
        "src/lib/card.js: expected 3, got 4",
        "",
    ],
)
def test_another_failure_gets_no_note(text: str) -> None:
    assert notes(text) == []


def test_a_step_that_passed_gets_no_note() -> None:
    assert notes("Cannot find module './lib/a'", exit_code=0) == []


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("sh: 1: git: not found", "git"),
        ("/bin/sh: bash: not found", "bash"),
        ("env: can't execute 'bash': No such file or directory", "bash"),
        ("Error: spawn git ENOENT", "git"),
        ("gyp ERR! find Python python3: command not found", "python3"),
    ],
)
def test_a_tool_that_the_image_lacks_is_named(text: str, tool: str) -> None:
    (note,) = notes(text)
    assert note.startswith(f"test: the image has no {tool}: name one that has it with --image")


def test_a_script_with_windows_line_ends_is_named(tmp_path: Path) -> None:
    (tmp_path / "make.sh").write_bytes(b"#!/bin/sh\r\necho\r\n")
    (tmp_path / "good.sh").write_bytes(b"#!/bin/sh\necho\r\n")
    found = list(scripts_with_crlf(tmp_path, ["good.sh", "make.sh", "missing.sh"]))
    assert found == ["make.sh"]
    (note,) = notes("sh: 1: ./make.sh: not found", *found)
    assert "make.sh has Windows line ends (CRLF)" in note


def test_pointers_of_git_lfs_are_noted_within_a_bound(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"
    names = [f"{number}.bin" for number in range(6)]
    for name in names:
        (tmp_path / name).write_text(pointer)
    (tmp_path / "link").symlink_to("0.bin")
    found = list(pointer_notes(tmp_path, ["link", *names]))
    assert len(found) == 4
    assert found[0].startswith("0.bin is a Git LFS pointer")


class Searches:
    """An expression that counts how many lines it is tried on."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.number, self._pattern = 0, pattern

    def search(self, text: str) -> re.Match[str] | None:
        self.number += text.count("\n") + 1
        return self._pattern.search(text)


@pytest.mark.parametrize("name", ["_MISSING", "_CRLF"])
def test_output_is_read_once_whatever_may_be_noted(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    searches = Searches(getattr(module, name))
    monkeypatch.setattr(module, name, searches)
    step = StepResult(name="test", exit_code=1, stderr="b is not found here\n" * 100)
    left_out = [LeftOut(path=f"a{number}", rule="a*") for number in range(32)]
    assert failure_notes([step], left_out, [f"{number}.sh" for number in range(500)]) == []
    assert searches.number <= 100


def test_notes_are_bounded() -> None:
    steps = [StepResult(name=f"{n}", exit_code=1, stderr="bash\\r") for n in range(100)]
    notes_of_all = failure_notes(steps, [], [f"{number}.sh" for number in range(500)])
    assert len(notes_of_all) == MAX_NOTES


def test_a_path_without_a_name_is_no_note() -> None:
    step = StepResult(name="test", exit_code=1, stderr="x: not found")
    assert failure_notes([step], [LeftOut(path="/", rule="")], []) == []
