"""What every command prints through: consoles, harmless text, JSON documents, errors."""

import json as jsonlib
import re
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from jobs.errors import JobError, PermanentError

FAILED, BAD_INPUT, OUR_SIDE, INTERRUPTED = 1, 2, 3, 130

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and cursor movements
    r"|(?:\x1b[\]P^_X]|[\x9d\x90])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is: no markup, no guessed colours, no wrapping."""
    return Console(
        stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True
    )


def clean(text: str) -> str:
    """Text from a project that a terminal cannot mistake for commands.

    Of a line that was drawn over with carriage returns, what was seen last is kept.
    """
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")
    seen = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return "\n".join(_CONTROL.sub("", line) for line in seen)


def one_line(text: str) -> str:
    """Clean text without line breaks."""
    return " ".join(clean(text).split())


def print_json(document: Any) -> None:
    """The one JSON document that ``--json`` promises."""
    sys.stdout.write(jsonlib.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def report_error(
    kind: str | type[JobError], message: str, *, json: bool, job_id: str | None = None
) -> None:
    """One line on standard error; with ``--json`` a document on standard output too."""
    console(stderr=True).print(Text.assemble(("error:", "bold red"), " ", one_line(message)))
    if json:
        name = kind if isinstance(kind, str) else kind.__name__
        error = {"kind": re.sub(r"\B([A-Z])", r"_\1", name).lower(), "message": message}
        print_json({"error": error} if job_id is None else {"error": error, "id": job_id})


def status_of(error: JobError) -> int:
    """The exit status of an error: the caller's mistake, or our side."""
    return BAD_INPUT if isinstance(error, PermanentError) else OUR_SIDE


def seconds(value: float) -> str:
    """A duration as people say it: ``0.4 s``, ``12.3 s``, ``2 min 05 s``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
