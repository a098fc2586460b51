"""Runs one command of ``revalid``; maps every error to a message and an exit status."""

import sys
import traceback

from typer import TyperException

from revalid.jobs.errors import RevalidError
from revalid.producer.cli import interrupt
from revalid.producer.cli.app import command
from revalid.producer.cli.output import BAD_INPUT, OUR_SIDE, report_error, status_of


def run_command(args: list[str]) -> int:
    """Run one command; return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    json = "--json" in args
    try:
        status = command.main(args=args, prog_name="revalid", standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "revalid"
        report_error("usage", f"{error.format_message()} See `{path} --help`.", json=json)
        return BAD_INPUT
    except RevalidError as error:
        report_error(type(error), str(error), json=json)
        return status_of(error)
    except KeyboardInterrupt:
        report_error("interrupted", "interrupted", json=json)
        return interrupt.STATUS
    except Exception as error:
        traceback.print_exc()
        report_error("bug", f"this is a bug in revalid, please report it: {error!r}", json=json)
        return OUR_SIDE
    return int(status or 0)
