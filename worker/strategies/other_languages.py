"""Names the parts of a project in languages that no strategy checks, so that none passes unseen."""

from collections.abc import Collection

from revalid.jobs.checks import CheckName
from revalid.worker.strategies.parts import split_parts
from revalid.worker.strategies.plan import PlannedStep, skipped
from revalid.worker.strategies.project_tree import ProjectTree

_LANGUAGES = {
    "mix.exs": "Elixir",
    "pubspec.yaml": "Dart",
    "Package.swift": "Swift",
    "build.sbt": "Scala",
    "gleam.toml": "Gleam",
    "stack.yaml": "Haskell",
    "*.cabal": "Haskell",
    "deps.edn": "Clojure",
    "project.clj": "Clojure",
}


def unchecked_languages(tree: ProjectTree, covered: Collection[str]) -> list[PlannedStep]:
    """Return a step that cannot run for each manifest of another language, in the root or a part.

    A check that the project has and that nobody can run keeps the job from passing.

    Args:
        covered: The names of manifests that a strategy of the project reads.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, language in _LANGUAGES.items():
        for directory in tree.directories_with(name) if name not in covered else ():
            found.setdefault(directory, (language, name))
    below = [directory for directory in found if directory != "."]
    parts = split_parts(below, root_has_checks=False)[0]
    return [
        skipped(
            CheckName.TESTS,
            language if directory == "." else f"{language} {directory}",
            name,
            f"no strategy checks {language} ({name}): give its commands with --command",
            absent=False,
        )
        for directory in (["."] if "." in found else parts)
        for language, name in [found[directory]]
    ]
