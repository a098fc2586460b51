"""Commands that exceed limits: each is ended with the reason, and leaves nothing.

If nothing ends such a command, it stops by itself at four times its limit.
"""

from typing import Any

import pytest

from revalid.jobs.job import LimitName
from revalid.jobs.result import JobResult, StepResult, Verdict
from tests.hostile.conftest import Site
from tests.integration.conftest import eventually

LIMITS: dict[str, Any] = {
    "memory_bytes": 192 * 2**20,
    "processes": 64,
    "disk_bytes": 32 * 2**20,
    "command_timeout_s": 60,
}

BOMB = """
echo before
bomb() { [ "$1" -gt 7 ] || { bomb $(($1 + 1)) & bomb $(($1 + 1)) & }; sleep MARKER; }
bomb 0
"""
"""At most 510 processes."""

HOG = """
echo before
node -e '
  const held = [];
  setInterval(() => held.length < 48 && held.push(Buffer.alloc(16 << 20, 1)), 40)
' MARKER
"""

HOGS = """
echo before
for n in 1 2 3 4 5 6 7 8; do
  node -e 'const held = Buffer.alloc(90 << 20, 1); setInterval(() => held, 1000)' MARKER &
done
wait
"""

FILLER = """
echo before
for n in 1 2 3 4 5 6 7 8; do head -c 16000000 /dev/zero >filler$n; sleep 1; done
sleep MARKER
"""

LARGE_FILE = "echo before; head -c 128000000 /dev/zero >filler"

SPINNER = "echo before; : MARKER; while :; do :; done"


def the_step(result: JobResult) -> StepResult:
    (step,) = result.steps
    return step


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (BOMB, LimitName.PROCESSES),
        (HOG, LimitName.MEMORY),
        (HOGS, LimitName.MEMORY),
        (FILLER, LimitName.DISK),
        (LARGE_FILE, LimitName.DISK),
        (SPINNER, LimitName.CPU),
    ],
    ids=["fork bomb", "memory hog", "memory hogs", "disk filler", "large file", "spinner"],
)
def test_command_over_a_limit_fails(site: Site, command: str, limit: LimitName) -> None:
    cpu = {"cpu_s": 1} if limit is LimitName.CPU else {}
    result = site.run(command, limits={**LIMITS, **cpu})
    step = the_step(result)
    assert (result.verdict, step.limit_exceeded) == (Verdict.FAILED, limit), result
    assert step.stdout == "before\n"
    assert step.stderr.endswith(f"[revalid: ended, {step.over_limit}]\n")


def test_large_output_is_cut_and_measured(site: Site) -> None:
    result = site.run("yes MARKER | head -c 300000000; echo end", limits={"output_bytes": 4_096})
    step = the_step(result)
    assert (result.verdict, step.truncated) == (Verdict.PASSED, True)
    assert step.stdout_bytes == 300_000_004
    assert step.stdout.endswith("end\n")
    assert len(step.stdout) < 5_000


def test_endless_output_is_ended(site: Site) -> None:
    limits = {"command_timeout_s": 2, "output_bytes": 4_096}
    result = site.run("yes MARKER", limits=limits)
    assert result.verdict is Verdict.TIMED_OUT
    assert the_step(result).stdout_bytes > 2**20


@pytest.mark.parametrize(
    "command",
    [
        "echo before; sleep MARKER",
        pytest.param(
            "trap '' TERM HUP INT; echo before; while :; do sleep MARKER; done",
            marks=pytest.mark.slow,  # the daemon does it too
        ),
        "echo before; (trap '' TERM; setsid sleep MARKER &) ; trap '' TERM; sleep MARKER",
    ],
    ids=["endless test", "ignores SIGTERM", "daemon that ignores SIGTERM"],
)
def test_endless_command_is_ended(site: Site, command: str) -> None:
    result = site.run(command, limits={"command_timeout_s": 1})
    assert (result.verdict, the_step(result).timed_out) == (Verdict.TIMED_OUT, True)
    assert the_step(result).stdout == "before\n"


def test_daemon_left_behind_is_ended(site: Site) -> None:
    result = site.run(
        "(trap '' TERM HUP; setsid sh -c 'echo up; : >up; sleep MARKER; true' &)\n"
        "while [ ! -e up ]; do :; done"
    )
    assert (result.verdict, the_step(result).stdout) == (Verdict.PASSED, "up\n")


@pytest.mark.parametrize(
    "command",
    ["sleep MARKER", "trap '' TERM; setsid sleep MARKER & while :; do sleep MARKER; done"],
    ids=["plain", "ignores SIGTERM"],
)
def test_cancelled_job_is_gone_within_five_seconds(site: Site, command: str) -> None:
    handle = site.start(command)
    eventually(lambda: any(line.startswith("sleep") for line in site.processes()))
    handle.cancel()
    eventually(lambda: not site.processes(), within_s=5)
    assert handle.result(30).verdict is Verdict.CANCELLED


def test_unenforced_limit_rejects_the_job_that_requires_it(site: Site) -> None:
    report = site.run("true").enforcement
    assert set(report) == set(LimitName) - {LimitName.CPU}
    for name, status in report.items():
        requiring = site.run("true", limits={"required": [name]})
        assert requiring.verdict is (Verdict.PASSED if status == "enforced" else Verdict.REJECTED)
        assert bool(requiring.steps) is (status == "enforced")
