"""Parses TOML from a project within bounds of size and time."""

import tomllib
from typing import Any

MAX_BYTES = 1 << 17
_LINE_DOTS = 500


def parse_toml(text: str) -> dict[str, Any]:
    """Return a TOML document.

    Raises:
        ValueError: It is not TOML, nested too deeply, or too slow to parse.
    """
    # tomllib takes quadratic time in the length of a dotted key: minutes for 100 KB.
    if len(text) > MAX_BYTES or any(line.count(".") > _LINE_DOTS for line in text.split("\n")):
        raise ValueError(
            f"it is larger than {MAX_BYTES} bytes or has over {_LINE_DOTS} dots in a line"
        )
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
