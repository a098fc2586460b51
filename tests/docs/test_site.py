"""The documentation site has no broken link, and its diagrams are rendered."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIAGRAM = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)
SOURCES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site that ``make docs`` builds."""
    made = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(made)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    return made


def test_every_page_is_there_and_nothing_else_is(site: Path) -> None:
    pages = {page.parent.relative_to(site).as_posix() for page in site.rglob("index.html")}
    docs = {page.relative_to(ROOT / "docs").with_suffix("") for page in SOURCES[1:]}
    docs |= {page.relative_to(ROOT / "docs").with_suffix("") for page in ROOT.glob("docs/adr/*")}
    assert pages == {".", "examples", "changelog", *(page.as_posix() for page in docs)}
    assert not list(site.rglob("*.py"))


def test_every_page_is_in_the_menu(site: Path) -> None:
    home = (site / "index.html").read_text()
    menu = re.findall(r'<a href="([^"]+)" class="md-nav__link', home)
    pages = {page.parent.relative_to(site).as_posix() for page in site.rglob("index.html")}
    assert pages - {"."} <= {link.rstrip("/") for link in menu}


def test_a_link_leads_to_the_page_of_its_target(site: Path) -> None:
    home = (site / "index.html").read_text()
    assert 'href="examples/"' in home
    assert 'href="reliability/"' in home
    assert ".md" not in "".join(re.findall(r'href="([^"]*)"', home))
    examples = (site / "examples" / "index.html").read_text()
    assert "<td>fastapi_backend</td>" in re.sub(r"</?code>", "", examples)  # no page: no link


def test_diagrams_are_diagrams(site: Path) -> None:
    written = [diagram for source in SOURCES for diagram in DIAGRAM.findall(source.read_text())]
    shown = [page.read_text().count('<pre class="mermaid">') for page in site.rglob("*.html")]
    assert sum(shown) == len(written) > 0
    # Mermaid ends a statement there, and shows the whole diagram as an error.
    assert not [words for diagram in written for words in diagram.splitlines() if ";" in words]
