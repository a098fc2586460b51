"""Validate the three tRPC examples and compare each exit status with the expected one."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent
PASSED, FAILED = 0, 1
EXPECTED = {"trpc-app": PASSED, "trpc-type-error": FAILED, "trpc-failing-test": FAILED}


def main() -> int:
    """Return 0 if every example got its verdict."""
    wrong = 0
    for name, expected in EXPECTED.items():
        sys.stdout.write(f"\n$ revalid run examples/{name}\n")
        sys.stdout.flush()
        command = [sys.executable, "-m", "revalid", "run", str(EXAMPLES / name)]
        status = subprocess.run(command, check=False).returncode
        if status != expected:
            wrong += 1
            sys.stdout.write(f"expected exit status {expected}, got {status}\n")
    right = len(EXPECTED) - wrong
    sys.stdout.write(f"\n{right} of {len(EXPECTED)} examples gave the expected verdict\n")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
