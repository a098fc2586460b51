"""The wrapper that runs each command in a container, and the report that it leaves there.

Output goes to files in the container, for the engine sends every byte of a real standard output
through its telemetry, which is slow; only a bounded part goes that way too, while the command runs.
"""

import base64
import math

from revalid.jobs.job import LimitName
from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.protocol import ExecResult, Stream

TOOLS = "/.revalid-tools"
"""Where what revalid itself runs in a container is mounted."""
REPORT = "/.revalid/report"
NONCE = "REVALID_NONCE"
STOP = "/.revalid-stop"
"""Where the wrapper finds a file of its nonce that asks it to end the command within a grace."""
REUSE = "reuse"
"""A key for which runs on equal files are told apart by the variable :data:`NONCE` alone."""
_STOPPING = f"""
PATH={TOOLS}
find "$1" -type f -mmin +60 -exec rm -f {{}} +
echo "$3" >"$1/.$2" && mv "$1/.$2" "$1/$2"
"""


def wrapped(
    command: str,
    owner: str,
    timeout_s: float,
    output_bytes: int,
    limits: CommandLimits,
    key: str,
    live_bytes: int = 0,
) -> list[str]:
    """The argument list that runs ``command``; equal lists on equal files may be replayed.

    Args:
        owner: Whose the command is, as ``uid:gid``; ``0`` for root.
        key: The run's nonce, or :data:`REUSE`.
        live_bytes: Bytes of output to print while the command runs.
    """
    numbers = [round(timeout_s * 100), round(protocol.KILL_GRACE_S * 100), output_bytes]
    bounds = [
        limits.memory_bytes // 1024,
        limits.processes,
        limits.disk_bytes // 512,
        math.ceil(limits.cpu_s or 0),
        live_bytes,
    ]
    rest = map(str, (*numbers, key, *bounds))
    return [f"{TOOLS}/sh", f"{TOOLS}/exec.sh", "start", command, owner, *rest]


def stopping(nonce: str) -> list[str]:
    """The argument list that asks the wrapper of a run to end it, in a container of its own."""
    grace = str(round(protocol.CANCEL_GRACE_S * 100))
    return [f"{TOOLS}/sh", "-c", _STOPPING, "revalid", STOP, nonce, grace]


def parse_report(report: str, nonce: str) -> ExecResult:
    """What the wrapper reported; another ``nonce`` than this run's tells a replay."""
    try:
        header, *streams = report.split("\n")
        code, timed_out, centiseconds, out_size, err_size, seen, over = header.split()
        out_head, out_tail, err_head, err_tail = (base64.b64decode(s) for s in streams[:4])
        return ExecResult(
            exit_code=int(code),
            stdout=Stream(out_head, out_tail, int(out_size)),
            stderr=Stream(err_head, err_tail, int(err_size)),
            duration_s=int(centiseconds) / 100,
            timed_out=timed_out == "1",
            cancelled=timed_out == "2",
            limit_exceeded=None if over == "-" else LimitName(over),
            cached=seen != nonce,
        )
    except ValueError:
        return _unreported("the command overwrote the report of its own run", 1)


def stopped_shell() -> ExecResult:
    """The result of a command whose wrapper did not come back at the limit."""
    return _unreported("the command stopped its own shell; its output is lost", 137, timed_out=True)


def ended_shell(streams: tuple[Stream, Stream], took_s: float) -> ExecResult:
    """The result of a command whose container was ended since its caller asked for that.

    Args:
        streams: What was heard of its output while it ran.
    """
    return ExecResult(137, *streams, took_s, cancelled=True)


def killed_shell(exit_code: int) -> ExecResult:
    """The result of a command whose wrapper was ended by a signal.

    That is an out-of-memory kill of the container, or a command that killed everything.
    """
    return _unreported(
        f"the command's shell was ended (exit code {exit_code}): "
        "out of memory, or killed by the command; its output is lost",
        exit_code,
    )


def _unreported(reason: str, exit_code: int, *, timed_out: bool = False) -> ExecResult:
    said = f"revalid: {reason}\n".encode()
    return ExecResult(
        exit_code, Stream(b"", b"", 0), Stream(said, b"", len(said)), 0.0, timed_out=timed_out
    )
