"""Writes notes that explain failed steps by facts of the project and the sandbox."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from revalid.jobs.result import StepResult, StepStatus
from revalid.jobs.source import LeftOut
from revalid.worker.run.missing_tools import (
    FULL_IMAGE_HINT,
    SYSTEM_TOOLS,
    last_lines,
    tools_not_found,
)

MAX_POINTERS = 3
MAX_SCRIPTS = 8
MAX_NOTES = 32
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1_024
_MISSING = re.compile(
    r"cannot find|can't find|could not find|not found|no such file|no module named|ENOENT"
    r"|could not resolve|failed to resolve|unable to resolve|does not exist|cannot resolve",
    re.IGNORECASE,
)
_SEGMENT = re.compile(r"[\w@.+-]{1,255}")
_WORD = re.compile(r"[\w@+-]{1,255}")
_CRLF = re.compile(r"\^M: |\\r: |\r: (?:command )?not found|sh\\r|bash\\r|node\\r|: not found\r?$")


def pointer_notes(root: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield notes on files that hold a Git LFS pointer instead of their content."""
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
    """Return the first notes for the steps that failed, each once.

    The output of a step is read once, however many notes it may give.

    Args:
        left_out: What the producer did not send.
        scripts_with_crlf: Scripts of the project whose first line ends with CR LF.
    """
    notes: dict[str, None] = {}
    unsent = [item for item in left_out if item.path.strip("/")]
    crlf = list(islice(scripts_with_crlf, MAX_SCRIPTS))
    for step in results:
        if len(notes) >= MAX_NOTES:
            break
        if step.status is not StepStatus.FAILED:
            continue
        lines = last_lines(step)
        missing = "\n".join(line for line in lines if _MISSING.search(line))
        segments, words = set(_SEGMENT.findall(missing)), set(_WORD.findall(missing))
        for item in unsent:
            if _is_named(item.path, segments, words):
                notes[f"{step.name}: {item.path} was left out of the upload: {item.rule}"] = None
        for tool in tools_not_found(step):
            if tool in SYSTEM_TOOLS:
                notes[f"{step.name}: the image has no {tool}: {FULL_IMAGE_HINT}"] = None
        text = "\n".join(lines)
        crlf_shows = bool(crlf) and _CRLF.search(text) is not None
        for script in crlf:
            if crlf_shows or script.rpartition("/")[2] in text:
                notes[
                    f"{step.name}: {script} has Windows line ends (CRLF), so its first line names "
                    "no program: save it with LF"
                ] = None
    return list(notes)[:MAX_NOTES]


def _is_named(path: str, segments: set[str], words: set[str]) -> bool:
    """Return whether lines that say that something is missing name this path or its end.

    Args:
        segments: The parts of the paths in these lines.
        words: The words in these lines.
    """
    last = [part for part in path.split("/") if part][-1]
    if path.endswith("/"):
        return last in segments or last in words
    return last in segments or (last.rpartition(".")[0] or last) in segments


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
