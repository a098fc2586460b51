"""The links of a page resolve to files."""

from pathlib import Path

import pytest

from revalid.worker.strategies.links import main

PAGE = """<link rel="stylesheet" href="a.css"><link rel="preconnect" href="//example.org">
<a href="sub/">sub</a> <a href="#top">top</a> <a href="mailto:a@example.org">mail</a>
<a href="/about">about</a> <img src="%41.png?v=1"> <a href="{{ link }}">later</a>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.css", "sub/index.html", "about.html", "A.png"):
        (tmp_path / name).touch()
    (tmp_path / "index.html").write_text(PAGE)
    return tmp_path


def test_links_to_files_resolve(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(site) == 0
    assert capsys.readouterr().out == "3 pages, 7 links, 0 of them broken\n"


@pytest.mark.parametrize("name", ["a.css", "sub", "about.html", "A.png"])
def test_a_missing_file_is_named(site: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (site / name).rename(site / "elsewhere")
    assert main(site) == 1
    assert "leads to no file" in capsys.readouterr().out


@pytest.mark.parametrize("link", ["%00", "a" * 5_000, "http://[", "../../outside.css"])
def test_a_strange_link_is_broken(site: Path, link: str) -> None:
    (site / "index.html").write_text(f'<a href="{link}">')
    assert main(site) == 1


def test_a_base_moves_every_link(site: Path) -> None:
    (site / "index.html").write_text('<base href="https://example.org/"><a href="none.html">')
    assert main(site) == 0
