"""The command line ``revalid``."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from revalid.producer.cli import interrupt


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its status.

    Args:
        arguments: The arguments after ``revalid``; those of the process by default.
    """
    args = list(sys.argv[1:] if arguments is None else arguments)
    interrupt.listen()
    try:
        from revalid.producer.cli.command import (
            run_command,  # a slow import, during which Ctrl-C may come
        )

        status = run_command(args or ["--help"])
    except KeyboardInterrupt:
        status = interrupt.STATUS
    interrupt.leave_with(status)
    sys.exit(status)
