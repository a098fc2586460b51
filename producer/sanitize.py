"""Makes text from projects and workers safe to print, and formats durations."""

import json
import re

from revalid.jobs.result import StepResult

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and cursor movements
    r"|(?:\x1b[\]P^_X]|[\x9d\x90])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)
_HIDDEN = (
    r"\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Invisible or misleading characters: C1, line breaks, directions, surrogates, default-ignorable.

Unicode calls these default-ignorable: zero width, fillers, variation selectors, tags.
"""
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f{_HIDDEN}]")
_IN_JSON = re.compile(rf"[{_HIDDEN}]")


def clean(text: str) -> str:
    """Remove everything that a terminal could take for a command.

    Of a line that carriage returns overwrote, only the last version is kept.
    """
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")
    seen = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return "\n".join(_CONTROL.sub("", line) for line in seen)


def visible_json(document: str) -> str:
    """Escape all invisible characters of a JSON document."""
    return _IN_JSON.sub(lambda match: json.dumps(match[0])[1:-1], document)


def one_line(text: str) -> str:
    """Return the clean text in one line."""
    return " ".join(clean(text).split())


def cached(step: StepResult) -> str:
    """Return a note that a step was replayed and what that saved; empty for a step that ran."""
    if not step.cached:
        return ""
    return f"cached, saved {seconds(step.saved_s)}" if step.saved_s else "cached"


def seconds(value: float) -> str:
    """Format a duration for people: ``0.4 s``, ``12.3 s``, ``2 min 05 s``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
