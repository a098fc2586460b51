"""The names by which the ledger knows the processes of a worker."""

import os
import secrets
import socket

START = "_REVALID_START"
"""The variable that passes the name of a worker's start to its child processes."""


def process_name(pid: int) -> str:
    """Return the name of a process of this worker; no other process ever has the same name.

    Two containers may have the same host name and the same process ids.
    """
    start = os.environ.setdefault(START, secrets.token_hex(4))
    return f"{socket.gethostname()}:{pid}-{start}"
