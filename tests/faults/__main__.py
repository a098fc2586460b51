"""``make faults``: every row at full size; the last line counts them."""

import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.matrix import Report


def main() -> int:
    """Run the rows that the arguments select as pytest would, by default all."""
    report = Report()
    started = monotonic()
    here = str(Path(__file__).parent)
    options = ["--full", "-q", "--no-header", "--tb=short", "-r", "N"]
    code = pytest.main([*options, *(sys.argv[1:] or [here])], plugins=[report])
    print(f"\nin {monotonic() - started:.0f} s\n{report.summary()}")  # noqa: T201
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
