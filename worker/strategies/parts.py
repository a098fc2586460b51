"""Finds the directories of a project that are parts of it, each with a manifest of its own."""

import re
from collections.abc import Iterable

MAX_PARTS = 24
"""Parts that are checked; more are named as not covered."""
_NOT_PARTS = frozenset(
    word
    for words in (
        "fixtures __fixtures__ fixture testdata test-data test tests __tests__ spec specs e2e",
        "example examples sample samples demo demos template templates vendor vendored third_party",
        "bench benchmark benchmarks docs doc website node_modules dist build out coverage",
    )
    for word in words.split()
)
"""Names of directories whose manifests are data, or belong to something besides the program."""
_PARTS = re.compile(
    r"(?:client|server|front-?end|back-?end|web|webapp|api|app|ui|functions|worker"
    r"|(?:apps|services|packages|libs)/[^/]+)\Z"
)
"""Directories that are parts although the root has checks of its own."""


def is_named_part(directory: str) -> bool:
    """Return whether the name of a directory says that it is a part."""
    return _PARTS.match(directory) is not None


def split_parts(
    directories: Iterable[str], *, root_has_checks: bool
) -> tuple[list[str], list[str]]:
    """Return the directories that are parts, and those that are not covered.

    Args:
        directories: Directories with a manifest, besides the root.
        root_has_checks: Whether the root has checks that may stand for others.
    """
    parts: list[str] = []
    others: list[str] = []
    for directory in sorted(directories, key=lambda name: (name.count("/"), name)):
        names = directory.split("/")
        data = any(name in _NOT_PARTS or name.startswith(".") for name in names)
        inside = any(directory.startswith(f"{part}/") for part in parts)
        fits = not data and not inside and (not root_has_checks or is_named_part(directory))
        (parts if fits and len(parts) < MAX_PARTS else others).append(directory)
    return parts, others


def not_covered(directories: Iterable[str], manifest: str) -> list[str]:
    """Return a note that names the directories whose manifests no check covers."""
    listed = sorted(directories)
    if not listed:
        return []
    shown = ", ".join(listed[:6])
    more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
    return [f"not covered by a check: {manifest} in {shown}{more}"]
