"""MkDocs hooks: pages from outside docs/, the decisions in the menu, links between all pages, the
figures of the last ``make bench``, and the table of events.

A link to a file that is not part of the site, such as a source file, becomes plain text.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mkdocs.structure.files import File, Files

from revalid import Event

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "examples/README.md": "examples.md",
    "CHANGELOG.md": "changelog.md",
    **{
        f"revalid/schemas/{path.name}": f"schemas/{path.name}"
        for path in (ROOT / "revalid" / "schemas").glob("*.json")
    },
}
ROLE = re.compile(r":(?:class|meth|func|data|attr):<code>~?[\w.]*?((?:[A-Z]\w*\.)?\w+)</code>")
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
    """Rewrite links to files as links to their pages, and fill in the generated tables."""
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

    for marker, table in (("<!-- goals -->", _goals), ("<!-- events -->", _events)):
        if marker in markdown:
            markdown = markdown.replace(marker, table())
    return LINK.sub(link, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Show a role of a docstring, such as ``:class:``, as the name alone."""
    return ROLE.sub(r"<code>\1</code>", html)


def _goals() -> str:
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    about = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    lines = [f"Measured on: {about}.", "", "| goal | measured | bound | met |", "|---|---|---|---|"]
    for row in results["goals"]:
        bound = f"{'at least' if row['at_least'] else 'under'} {row['goal']:g} {row['unit']}"
        met = "yes" if row["met"] else "**no**"
        lines.append(f"| {row['name']} | {row['ratio']:g} {row['unit']} | {bound} | {met} |")
    return "\n".join(lines)


def _events() -> str:
    lines = ["| `type` | meaning | names in `data` |", "|---|---|---|"]
    for kind in get_args(Event):
        hints = get_type_hints(kind)
        names = ", ".join(f"`{name}`" for name in hints["data"].__annotations__)
        lines.append(f"| `{get_args(hints['type'])[0]}` | {kind.__doc__} | {names} |")
    return "\n".join(lines)
