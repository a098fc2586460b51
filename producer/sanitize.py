"""Text that a project or a worker wrote, made harmless, and durations in words."""

import json
import re

from revalid.jobs.result import StepResult

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and cursor movements
    r"|(?:\x1b[\]P^_X]|[\x9d\x90])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)
_HIDDEN = (
    r"\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
"""Not seen, or seen as something else: C1, breaks of lines, zero width, directions, halves."""
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f{_HIDDEN}]")
_IN_JSON = re.compile(rf"[{_HIDDEN}]")


def clean(text: str) -> str:
    """Text from a project that a terminal cannot mistake for commands.

    Of a line that was drawn over with carriage returns, what was seen last is kept.
    """
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")
    seen = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return "\n".join(_CONTROL.sub("", line) for line in seen)


def visible_json(document: str) -> str:
    """JSON in which everything that is not seen is an escape."""
    return _IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], document)


def one_line(text: str) -> str:
    """Clean text without line breaks."""
    return " ".join(clean(text).split())


def cached(step: StepResult) -> str:
    """That a step was replayed, and what that saved; empty for one that ran."""
    if not step.cached:
        return ""
    return f"cached, saved {seconds(step.saved_s)}" if step.saved_s else "cached"


def seconds(value: float) -> str:
    """A duration as people say it: ``0.4 s``, ``12.3 s``, ``2 min 05 s``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
