"""MkDocs hooks: pages from outside docs/, the decisions in the menu, links from one to all, and the
figures of the last ``make bench``.

What the site does not hold, such as a source file, is named there without a link.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "examples/README.md": "examples.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """List the decisions, so that a new one needs no line in mkdocs.yml."""
    adr = sorted(file.name for file in (ROOT / "docs" / "adr").glob("*.md"))
    config.nav = [*config.nav, {"Decisions": [f"adr/{name}" for name in adr]}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that live outside docs/."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point each link at the page of what it names, from wherever it is written."""
    sources = {name: source for source, name in OUTSIDE.items()}
    here = page.file.src_uri
    source = sources.get(here, f"docs/{here}")

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        name = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        name = OUTSIDE.get(name, name.removeprefix("docs/"))
        if name == "adr":
            name = min(file.src_uri for file in files if file.src_uri.startswith("adr/"))
        if files.get_file_from_path(name) is None:
            return words
        return f"[{words}]({posixpath.relpath(name, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(link, markdown.replace("<!-- goals -->", _goals()))


def _goals() -> str:
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    about = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    lines = [f"Measured on: {about}.", "", "| goal | measured | bound | met |", "|---|---|---|---|"]
    for row in results["goals"]:
        bound = f"{'at least' if row['at_least'] else 'under'} {row['goal']:g} {row['unit']}"
        met = "yes" if row["met"] else "**no**"
        lines.append(f"| {row['name']} | {row['ratio']:g} {row['unit']} | {bound} | {met} |")
    return "\n".join(lines)
