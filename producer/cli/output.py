"""Output of every command: consoles, JSON documents and errors."""

import json as jsonlib
import re
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from revalid.jobs.errors import PermanentError, RevalidError
from revalid.producer.sanitize import one_line, visible_json

FAILED, BAD_INPUT, OUR_SIDE = 1, 2, 3


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Make a console that prints text verbatim: no markup, no highlighting, no wrapping."""
    return Console(
        stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False, soft_wrap=True
    )


def print_json(document: Any) -> None:
    """Print the one JSON document of ``--json``."""
    sys.stdout.write(visible_json(jsonlib.dumps(document, indent=2, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def report_error(
    kind: str | type[RevalidError], message: str, *, json: bool, job_id: str | None = None
) -> None:
    """Print an error as one line on standard error; with ``json``, print a JSON document too."""
    console(stderr=True).print(Text.assemble(("error:", "bold red"), " ", one_line(message)))
    if json:
        name = kind if isinstance(kind, str) else kind.__name__
        error = {"kind": re.sub(r"\B([A-Z])", r"_\1", name).lower(), "message": message}
        print_json({"error": error} if job_id is None else {"error": error, "id": job_id})


def status_of(error: RevalidError) -> int:
    """Return the exit status of an error: bad input, or our side."""
    return BAD_INPUT if isinstance(error, PermanentError) else OUR_SIDE
