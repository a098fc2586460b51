"""The printed form of a result."""

import re
from typing import Any

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.job import LimitName
from revalid.jobs.result import JobResult, Proven, StepResult, Unproven, Verdict
from revalid.producer.cli.verdict import STATUS, print_verdict, step_line
from tests.producer.cli.conftest import console, printed, result


def verdict_of(found: JobResult) -> str:
    out = console()
    print_verdict(out, found)
    return printed(out)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"exit_code": 0, "duration_s": 1.25}, "  ✓ check   1.2 s"),
        ({"exit_code": 2}, "  ✗ check   0.0 s  exit 2"),
        ({"exit_code": 137, "timed_out": True}, "  ✗ check   0.0 s  timed out"),
        (
            {"exit_code": 137, "limit_exceeded": "memory", "limit_value": "8 GiB"},
            "  ✗ check   0.0 s  over its memory limit of 8 GiB",
        ),
        ({"exit_code": 1, "allow_failure": True}, "  ✗ check   0.0 s  exit 1, may fail"),
        (
            {"exit_code": 0, "cached": True, "saved_s": 7.7},
            "  ✓ check   0.0 s  cached, saved 7.7 s",
        ),
        ({"cancelled": True, "exit_code": 143}, "  ✗ check   0.0 s  cancelled"),
        ({}, "  ✗ check   0.0 s  its end was not seen"),
        ({"skipped_reason": "no script"}, "  \u2013 check  skipped: no script"),
    ],
)
def test_a_step_in_a_line(fields: dict[str, Any], shown: str) -> None:
    assert step_line(StepResult(name="check", **fields), 6).plain == shown


def test_a_failure_shows_its_command_and_the_output_that_says_why() -> None:
    step = StepResult(
        name="types",
        command="cd client\ntsc [bold]",
        exit_code=2,
        stdout="a.ts(1,2): error [red]TS1[/red]\n",
        stderr="\x1b[31mnpm error\x1b[0m\n",
    )
    ok = StepResult(name="build", command="make", exit_code=0, stdout="built")
    shown = verdict_of(result(Verdict.FAILED, ok, step))
    assert shown == (
        "\n✗ types  exit 2\n"
        "  $ cd client\n"
        "  > tsc [bold]\n"
        "  stdout:\n"
        "  a.ts(1,2): error [red]TS1[/red]\n"
        "  stderr:\n"
        "  npm error\n"
        "\n"
        "failed in 2.5 s: types\n"
    )


@pytest.mark.parametrize(("out", "err"), [(500, 0), (0, 500), (500, 500), (500, 3), (3, 500)])
def test_much_output_is_cut_to_its_end(out: int, err: int) -> None:
    step = StepResult(
        name="test",
        exit_code=1,
        stdout="".join(f"out{n}.\n" for n in range(out)),
        stderr="".join(f"err{n}.\n" for n in range(err)),
    )
    shown = verdict_of(result(Verdict.FAILED, step))
    kept = re.findall(r"(?:out|err)\d+\.", shown)
    assert len(kept) == 60
    assert f"… {out + err - 60} more lines; revalid logs cafe" in shown
    for name, number in (("out", out), ("err", err)):
        if number:
            assert f"{name}{number - 1}." in shown


def test_a_failure_that_wrote_nothing_says_so() -> None:
    assert "it wrote nothing" in verdict_of(
        result(Verdict.FAILED, StepResult(name="test", exit_code=1, stdout=" \n"))
    )


def test_notes_tools_errors_and_reuse_are_printed() -> None:
    shown = verdict_of(
        result(
            Verdict.REJECTED,
            error="secret A is not allowed",
            notes=("no lockfile",),
            tools={"node": "20.1", "npm": "10"},
            reused=True,
        )
    )
    assert "note      no lockfile\n" in shown
    assert "tools     node 20.1, npm 10\n" in shown
    assert "rejected in 2.5 s: secret A is not allowed\n" in shown
    assert "--fresh runs it again" in shown


def test_only_limits_that_do_not_hold_are_told() -> None:
    holds: dict[str, Any] = {"enforcement": {"time": "enforced", "memory": "enforced"}}
    assert "limits" not in verdict_of(result(Verdict.PASSED, **holds))
    holds["enforcement"] |= {"memory": "not_enforced", "disk": "not_enforced"}
    shown = verdict_of(result(Verdict.PASSED, **holds))
    assert "  limits    not enforced: memory, disk\n" in shown


def test_a_limit_that_ended_a_step_is_named_with_its_failure() -> None:
    step = StepResult(
        name="test", exit_code=137, limit_exceeded=LimitName.DISK, limit_value="5 GiB"
    )
    shown = verdict_of(result(Verdict.FAILED, step))
    assert "✗ test  over its disk limit of 5 GiB\n" in shown


def test_every_verdict_has_its_exit_status() -> None:
    assert {verdict.value: STATUS[verdict] for verdict in Verdict} == {
        "passed": 0,
        "failed": 1,
        "incomplete": 1,
        "timed_out": 1,
        "cancelled": 1,
        "rejected": 2,
        "errored": 3,
    }


def test_what_was_proven_is_one_line_and_each_missing_check_that_decides_has_its_reason() -> None:
    proofs = (("install", "installed"), ("build", "built"), ("build", "built"))
    shown = verdict_of(
        result(
            Verdict.INCOMPLETE,
            proven=(
                *(Proven(check=CheckName(c), step=c, words=words) for c, words in proofs),
                Proven(check=CheckName.TESTS, step="test", words="191 tests passed"),
            ),
            unproven=(
                Unproven(check=CheckName.START, reason="no Postgres here", decides=True),
                Unproven(check=CheckName.LINT, step="lint", reason="exit 1", decides=False),
            ),
        )
    )
    assert "  proven    installed · built (2 steps) · 191 tests passed\n" in shown
    assert "  unproven  start: no Postgres here\n" in shown
    assert "  unproven  lint, which did not decide\n" in shown
    assert "incomplete in 2.5 s: start: no Postgres here\n" in shown
