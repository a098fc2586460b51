"""Names the parts of a project in languages that no strategy checks, so that none passes unseen."""

import re

from revalid.jobs.checks import CheckName
from revalid.worker.strategies.parts import split_parts
from revalid.worker.strategies.plan import PlannedStep, skipped
from revalid.worker.strategies.project_tree import ProjectTree

_LANGUAGES = {
    "composer.json": "PHP",
    "go.mod": "Go",
    "Cargo.toml": "Rust",
    "pom.xml": "Java",
    "build.gradle": "Java",
    "build.gradle.kts": "Kotlin",
    "Gemfile": "Ruby",
    "mix.exs": "Elixir",
    "pubspec.yaml": "Dart",
    "Package.swift": "Swift",
    "deno.json": "Deno",
    "deno.jsonc": "Deno",
}
_DOTNET = re.compile(r"\.(?:csproj|fsproj|sln)\Z")


def unchecked_languages(tree: ProjectTree) -> list[PlannedStep]:
    """Return a step that cannot run for each manifest of another language, in the root or a part.

    A check that the project has and that nobody can run keeps the job from passing.
    """
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(tree.files):
        directory, _, name = path.rpartition("/")
        language = _LANGUAGES.get(name) or (".NET" if _DOTNET.search(name) else None)
        if language is not None:
            found.setdefault(directory or ".", (language, name))
    below = [directory for directory in found if directory != "."]
    parts = split_parts(below, root_has_checks=False)[0]
    covered = [".", *parts] if "." not in found else ["."]
    return [
        skipped(
            CheckName.TESTS,
            f"{language}" if directory == "." else f"{language} {directory}",
            name,
            f"no strategy checks {language} ({name}): give its commands with --command",
            absent=False,
        )
        for directory in covered
        if directory in found
        for language, name in [found[directory]]
    ]
