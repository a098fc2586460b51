"""Writes the manifest of an exam and its expected verdicts."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Question:
    """A project with the verdict that is right for it.

    Attributes:
        name: The project's name, with its collection.
        directory: The project, below the directory of the exam.
        verdict: The right verdict; several are joined by `` or ``.
        tests_executed: The right number of executed tests; None where it is not known.
        manifest: Other fields of the project's line in the manifest.
    """

    name: str
    directory: Path
    verdict: str
    tests_executed: int | None = None
    manifest: dict[str, Any] = field(default_factory=dict)


def write_files(directory: Path, files: dict[str, str | bytes]) -> None:
    """Write the files of a project, whose names are relative to its directory."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_manifest(exam: Path, questions: Iterable[Question]) -> int:
    """Write ``manifest.jsonl`` and ``expected.csv``; return the number of projects."""
    ordered = list(questions)
    with (exam / "manifest.jsonl").open("w") as manifest:
        for question in ordered:
            project = str(question.directory.relative_to(exam))
            line = {"project": project, "name": question.name, **question.manifest}
            manifest.write(json.dumps(line) + "\n")
    with (exam / "expected.csv").open("w", newline="") as expected:
        writer = csv.writer(expected)
        writer.writerow(("project", "verdict", "tests_executed"))
        writer.writerows((q.name, q.verdict, q.tests_executed) for q in ordered)
    return len(ordered)
