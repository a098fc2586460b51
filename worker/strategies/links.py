"""Prints the links of pages that lead to no file; it runs in a sandbox, on its own.

The argument is the directory that is served as ``/``.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = {
    ("a", "href"),
    ("area", "href"),
    ("audio", "src"),
    ("iframe", "src"),
    ("img", "src"),
    ("link", "href"),
    ("script", "src"),
    ("source", "src"),
    ("video", "poster"),
    ("video", "src"),
}
MOST_BYTES = 4 * 2**20


class Page(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.moved = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the addresses of a tag; a hint to connect to a host names no file."""
        relation = dict(attrs).get("rel") or ""
        self.moved |= tag == "base"
        if relation not in ("preconnect", "dns-prefetch", "canonical", "alternate"):
            self.links += [value for name, value in attrs if (tag, name) in LINKS and value]


def is_there(link: str, page: Path, root: Path) -> bool:
    """Return whether a link leads to a file, or is none to a local file."""
    try:
        parts = urlsplit(link.strip())
    except ValueError:
        return False
    if parts.scheme or parts.netloc or not parts.path or "{" in link:
        return True
    path = unquote(parts.path)
    target = root / path.lstrip("/") if path.startswith("/") else page.parent / path
    try:
        return any(name.exists() for name in (target, Path(f"{target}.html")))
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def main(root: Path) -> int:
    """Check every page below a directory; return 1 if a link leads nowhere."""
    pages = sorted(path for path in root.rglob("*") if path.suffix in (".html", ".htm"))
    links = broken = 0
    for path in pages:
        page = Page()
        page.feed(path.read_bytes()[:MOST_BYTES].decode(errors="replace"))
        found = [] if page.moved else page.links  # a <base> moves every address
        links += len(found)
        for link in found:
            if not is_there(link, path, root):
                broken += 1
                print(f"{path.relative_to(root)}: {link} leads to no file")  # noqa: T201
    print(f"{len(pages)} pages, {links} links, {broken} of them broken")  # noqa: T201
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
