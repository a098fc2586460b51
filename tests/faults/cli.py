"""Runs the ``revalid`` command as a process."""

import os
import subprocess
import sys

MAIN = "import sys; from revalid.producer.cli import main; sys.exit(main())"


def revalid(url: str, *arguments: str, expect: int = 0) -> str:
    """Return what a command prints; its exit status must be ``expect``."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("REVALID_")}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", MAIN, *arguments],
        env={**own, "REVALID_BROKER_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == expect, f"revalid {' '.join(arguments)}: {ended.stderr}"
    return ended.stdout
