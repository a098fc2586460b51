"""The wrapper's argument list and its report."""

import base64

import pytest

from revalid.jobs.job import LimitName
from revalid.worker.sandboxes.dagger.exec_wrapper import parse_report, wrapped
from revalid.worker.sandboxes.limits import CommandLimits

LIMITS = CommandLimits()


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def test_report_is_read() -> None:
    report = (
        f"3 1 250 10 4 nonce memory\n{encoded(b'he')}\n{encoded(b'ta')}\n{encoded(b'err!')}\n\n"
    )
    result = parse_report(report, "nonce")
    assert (result.exit_code, result.timed_out, result.cached) == (3, True, False)
    assert (result.duration_s, result.limit_exceeded) == (2.5, LimitName.MEMORY)
    assert (result.stdout.head, result.stdout.tail, result.stdout.size) == (b"he", b"ta", 10)
    assert (result.stderr.head, result.stderr.truncated) == (b"err!", False)


def test_another_nonce_is_a_replay() -> None:
    assert parse_report("0 0 1 0 0 earlier -\n\n\n\n\n", "nonce").cached


@pytest.mark.parametrize(
    "forged", ["", "all is well", "x 0 1 0 0 nonce -\n\n\n\n\n", "0 0 1 0 0 nonce luck\n\n\n\n\n"]
)
def test_forged_report_fails_the_command(forged: str) -> None:
    result = parse_report(forged, "nonce")
    assert result.exit_code != 0
    assert b"overwrote the report" in result.stderr.head


def test_equal_calls_have_equal_arguments() -> None:
    words = ("true", "0", 600, 10, LIMITS)
    assert wrapped(*words, "key") == wrapped("true", "0", 600.0, 10, LIMITS, "key")
    assert wrapped(*words, "key") != wrapped(*words, "other")
    assert wrapped(*words, "key") != wrapped("true", "1:1", *words[2:], "key")
    assert wrapped(*words, "key") != wrapped(*words[:4], CommandLimits(processes=7), "key")
