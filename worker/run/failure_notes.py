"""Notes that explain a failed step by what is known of the project and the sandbox."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from revalid.jobs.result import StepResult, StepStatus
from revalid.jobs.source import LeftOut

MAX_POINTERS = 3
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1_024
_LINE = 400
_LINES = 2_000
_MISSING = re.compile(
    r"cannot find|can't find|could not find|not found|no such file|no module named|ENOENT"
    r"|could not resolve|failed to resolve|unable to resolve|does not exist|cannot resolve",
    re.IGNORECASE,
)
_SEGMENT = re.compile(r"[\w@.+-]{1,255}")
_WORD = re.compile(r"[\w@+-]{1,255}")
_TOOLS = {
    "git": "the image has no git: name one that has it with --image, such as node:20",
    "bash": "the image has no bash: name one that has it with --image, such as node:20",
    "python3": "the image has no python3: name one that has it with --image, such as node:20",
    "python": "the image has no python: name one that has it with --image",
    "make": "the image has no make: name one that has it with --image, such as node:20",
    "g++": "the image has no C++ compiler: name one that has it with --image, such as node:20",
}
_NO_TOOL = re.compile(
    r"(?:^|[ :'\"`/])(git|bash|python3?|make|g\+\+)['\"`]?: (?:command )?not found"
    r"|spawn (git|bash|python3?|make) ENOENT"
    r"|env: (?:can't execute )?['\u2018]?(bash|python3?)['\u2019]?:? No such file"
    r"|not found: (git|bash|python3?|make|g\+\+)(?=\s|\Z)",
    re.MULTILINE,
)
_CRLF = re.compile(r"\^M: |\\r: |\r: (?:command )?not found|sh\\r|bash\\r|node\\r|: not found\r?$")


def pointer_notes(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Note the files that are pointers of Git LFS instead of their content."""
    found = 0
    for name in names:
        path = root / name
        try:
            if path.is_symlink() or not 100 <= path.stat().st_size <= _POINTER_BYTES:
                continue
            with path.open("rb") as file:
                pointer = file.read(len(_POINTER)) == _POINTER
        except OSError:
            continue
        if pointer:
            found += 1
            if found > MAX_POINTERS:
                yield "more files are Git LFS pointers"
                return
            yield (
                f"{name} is a Git LFS pointer, not the file itself: run `git lfs pull` before "
                "the project is sent"
            )


def failure_notes(
    results: Iterable[StepResult], left_out: Iterable[LeftOut], scripts_with_crlf: Iterable[str]
) -> list[str]:
    """Return the notes for the steps that failed, each once.

    Args:
        left_out: What the producer did not send.
        scripts_with_crlf: Scripts of the project whose first line ends with CR LF.
    """
    notes: dict[str, None] = {}
    unsent = [item for item in left_out if item.path]
    crlf = list(scripts_with_crlf)
    for step in results:
        if step.status is not StepStatus.FAILED:
            continue
        lines = _lines(step)
        for item in unsent:
            if any(_names(line, item.path) for line in lines):
                notes[f"{step.name}: {item.path} was left out of the upload: {item.rule}"] = None
        for line in lines:
            if match := _NO_TOOL.search(line):
                notes[f"{step.name}: {_TOOLS[next(filter(None, match.groups()))]}"] = None
        text = "\n".join(lines)
        for script in crlf:
            if script.rpartition("/")[2] in text or _CRLF.search(text):
                notes[
                    f"{step.name}: {script} has Windows line ends (CRLF), so its first line names "
                    "no program: save it with LF"
                ] = None
    return list(notes)


def _lines(step: StepResult) -> list[str]:
    lines = [*step.stderr.splitlines()[-_LINES:], *step.stdout.splitlines()[-_LINES:]]
    return [line[:_LINE] for line in lines]


def _names(line: str, path: str) -> bool:
    """Return whether a line says that something is missing, and names this path or its end."""
    if not _MISSING.search(line):
        return False
    parts = [part for part in path.split("/") if part]
    segments = _SEGMENT.findall(line)
    if path.endswith("/"):
        return parts[-1] in segments or parts[-1] in _WORD.findall(line)
    stem = parts[-1].rpartition(".")[0] or parts[-1]
    return any(segment in (parts[-1], stem) for segment in segments)


def scripts_with_crlf(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield the scripts whose ``#!`` line ends with CR LF."""
    for name in names:
        path = root / name
        try:
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                first = file.readline(256)
        except OSError:
            continue
        if first.startswith(b"#!") and first.endswith(b"\r\n"):
            yield name
