"""The words of the documentation: each kept word is explained, and each path and module exists."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = "benchmarks|deploy|docs|examples|jobs|producer|revalid|tests|worker"
KEPT = [
    "ledger",
    "lease",
    "fence",
    "claim",
    "verdict",
    "trajectory",
    "replay",
    "strategy",
    "outbox",
    "doorbell",
    "lane",
    "tenant",
    "project",
    "step",
    "job",
    "batch",
    "attempt",
    "sandbox",
    "engine",
]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    ROOT / "examples/README.md",
    *(ROOT / "docs").rglob("*.md"),
]


@pytest.mark.parametrize("word", KEPT)
def test_a_kept_word_has_a_row_in_the_glossary(word: str) -> None:
    glossary = (ROOT / "docs/concepts.md").read_text().partition("\n## ")[0]
    assert re.search(rf"(?m)^\| {word} \| .{{20,}} \|$", glossary)


def test_every_path_and_module_that_a_page_names_exists() -> None:
    paths = rf"`((?:{FOLDERS})/[\w./-]+)`"
    modules = r"\brevalid\.(?:jobs|producer|worker)(?:\.[a-z_]+)*"
    text = "\n".join(page.read_text() for page in PAGES)
    assert {path for path in re.findall(paths, text) if not (ROOT / path).exists()} == set()
    assert {name for name in re.findall(modules, text) if find_spec(name) is None} == set()


def test_a_change_starts_where_contributing_says() -> None:
    rows = re.findall(r"`(\w+)` in `([\w./]+)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(rows) >= 10
    for name, path in rows:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), (name, path)
