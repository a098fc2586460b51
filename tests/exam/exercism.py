"""Questions from Exercism's tracks: an exercise's stub must fail, its reference solution pass."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.exam.manifest import Question, write_files

_TRACKS = {"@exercism/javascript": "javascript", "@exercism/typescript-track": "typescript"}
_LOCKFILES = ("pnpm-lock.yaml", "yarn.lock")
_SETUPS = ("babel.config.js", "babel.config.cjs", "jest.config.js", ".yarnrc.yml")
_OWN_SETUPS = ("jest.config.cjs", "tsconfig.json")
"""Set-ups that an exercise of the TypeScript track has of its own."""
_REFACTORING = {"ledger", "markdown"}
"""Exercises whose stub works: the task is to tidy it up."""


@dataclass(frozen=True)
class Track:
    """A checked-out track.

    Attributes:
        shared: Whether the worker's ``PATH`` and ``NODE_PATH`` lead to one install of the
            track's root; else each project has the root's dependencies and lockfile.
    """

    directory: Path
    name: str
    shared: bool

    @property
    def exercises(self) -> list[Path]:
        """The exercises in the order of their names."""
        return sorted(self.directory.glob("exercises/*/*/.meta/config.json"))


def track_name(collection: Path) -> str | None:
    """Return the name of the track that a directory is a checkout of, or None."""
    try:
        return _TRACKS.get(json.loads((collection / "package.json").read_bytes()).get("name"))
    except (OSError, ValueError):
        return None


def questions(track: Track, exam: Path) -> Iterator[Question]:
    """Write two projects for each exercise, and yield them."""
    for config_path in track.exercises:
        exercise = config_path.parent.parent
        try:
            config = json.loads(config_path.read_bytes())
        except ValueError as error:
            print(f"left out {track.name}/{exercise.name}: its config.json is not JSON: {error}")
            continue
        flags = config.get("custom", {})
        for kind in ("stub", "solution"):
            name = f"{track.name}/{exercise.name}/{kind}"
            files = _common(track, exercise, flags) | _tests(track, exercise, config)
            files |= _solution(exercise, config, reference=kind == "solution")
            write_files(exam / name, files)
            for extra in ("lib", "data"):
                if (exercise / extra).is_dir():
                    shutil.copytree(exercise / extra, exam / name / extra, dirs_exist_ok=True)
            works = kind == "solution" or exercise.name in _REFACTORING
            yield Question(name, exam / name, "passed" if works else "failed")


def _common(track: Track, exercise: Path, flags: dict[str, bool]) -> dict[str, str | bytes]:
    """Return the root's set-up: the track's own checks run all exercises with it."""
    package = json.loads((track.directory / "package.json").read_bytes())
    runs_jest, runs_tstyche = flags.get("flag.tests.jest", True), flags.get("flag.tests.tstyche")
    runners = ["tstyche"] * bool(runs_tstyche) + ["jest"] * bool(runs_jest)
    package["scripts"] = {"test": " && ".join(runners)}
    kept, own = list(_SETUPS), list(_OWN_SETUPS)
    if track.shared and not runs_tstyche:  # the TypeScript compiler ignores NODE_PATH
        for key in ("dependencies", "devDependencies", "packageManager"):
            package.pop(key, None)
        kept.remove(".yarnrc.yml")
        own.remove("tsconfig.json")
    else:
        kept += _LOCKFILES
    files = {name: _read(track.directory / name) for name in kept}
    files |= {name: _read(exercise / name) for name in own if track.name == "typescript"}
    found = {name: content for name, content in files.items() if content is not None}
    return {**found, "package.json": json.dumps(package, indent=2)}


def _tests(track: Track, exercise: Path, config: dict[str, dict[str, list[str]]]) -> dict[str, str]:
    """Return the test files with all tests enabled, as the track's own scripts enable them."""
    enabled = {}
    for name in config["files"]["test"]:
        if (path := exercise / name).is_file():
            enabled[name] = "\n".join(_enabled(line) for line in path.read_text().split("\n"))
    return enabled


def _enabled(line: str) -> str:
    line = re.sub(r"x(?:test|it)\(", "it(" if "xit(" in line else "test(", line, count=1)
    return re.sub(r"xdescribe\(", "describe(", line, count=1)


def _solution(
    exercise: Path, config: dict[str, dict[str, list[str]]], *, reference: bool
) -> dict[str, bytes | str]:
    files = config["files"]
    stub = {name: (exercise / name).read_bytes() for name in files["solution"]}
    stub |= {name: (exercise / name).read_bytes() for name in files.get("editor", ())}
    if not reference:
        return {**stub}
    sources = files.get("example") or files.get("exemplar") or []
    solved = {
        name: (exercise / source).read_text().replace("from '../", "from './")
        for source, name in zip(sources, files["solution"], strict=False)
    }
    return {**stub, **solved}


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
