"""``make faults``: every row at full size; the last line counts them.

Rows 14 and 15 need a Dagger engine. They find its process by its unix socket, or by the command
that FAULTS_ENGINE_PID names, and kill and freeze it. FAULTS_ENGINE_RESTART names the command that
starts it again. Do not use an engine that others use for these rows.
"""

import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.matrix import Report


def main() -> int:
    """Run the rows that pytest's arguments select; all by default."""
    report = Report()
    started = monotonic()
    here = str(Path(__file__).parent)
    options = ["--full", "-q", "--no-header", "--tb=short", "-r", "N"]
    code = pytest.main([*options, *(sys.argv[1:] or [here])], plugins=[report])
    print(f"\nin {monotonic() - started:.0f} s\n{report.summary()}")  # noqa: T201
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
