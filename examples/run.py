"""Validate the three tRPC examples and compare each verdict with what the example is made for."""

import subprocess
import sys
from pathlib import Path

from revalid.jobs.settings import load_settings
from revalid.producer.client import Client
from revalid.producer.local.workers import attached
from revalid.producer.submission import prepare

EXAMPLES = Path(__file__).parent
EXPECTED = {
    "trpc-app": ("passed", None),
    "trpc-type-error": ("failed", "typecheck client"),
    "trpc-failing-test": ("failed", "test"),
}


def main() -> int:
    """0 when every example got its verdict."""
    revalid = Path(sys.executable).with_name("revalid")
    wrong = 0
    with attached(load_settings(env_file=None)) as settings, Client(settings) as client:
        for name, expected in EXPECTED.items():
            sys.stdout.write(f"\n$ revalid run examples/{name}\n")
            sys.stdout.flush()
            subprocess.run([revalid, "run", EXAMPLES / name], check=False)
            with prepare(settings, EXAMPLES / name) as submission:
                result = client.job(submission.job.id).result(10)
            if (result.verdict.value, result.failed_step) != expected:
                wrong += 1
                sys.stdout.write(f"expected: {expected[0]}, {expected[1] or 'no step'}\n")
    right = len(EXPECTED) - wrong
    sys.stdout.write(f"\n{right} of {len(EXPECTED)} examples gave the verdict they are made for\n")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
