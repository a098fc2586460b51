"""The command line ``revalid``: exit statuses and errors are decided here, once."""

import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from typer import TyperException

from jobs.errors import JobError
from producer.cli.app import command
from producer.cli.output import BAD_INPUT, INTERRUPTED, OUR_SIDE, report_error, status_of


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its status.

    Args:
        arguments: What follows ``revalid``; the process's own by default.
    """
    args = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.exit(_run(args or ["--help"]))


def _run(args: list[str]) -> int:
    json = "--json" in args
    try:
        status = command.main(args=args, prog_name="revalid", standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "revalid"
        report_error("usage", f"{error.format_message()} See `{path} --help`.", json=json)
        return BAD_INPUT
    except JobError as error:
        report_error(type(error), str(error), json=json)
        return status_of(error)
    except KeyboardInterrupt:
        report_error("interrupted", "interrupted", json=json)
        return INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        report_error("bug", f"this is a bug in revalid, please report it: {error!r}", json=json)
        return OUR_SIDE
    return int(status or 0)
