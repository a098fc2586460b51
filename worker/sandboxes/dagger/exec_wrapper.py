"""The wrapper that runs each command in a container, and its report.

Output goes to files in the container: the engine sends every byte of a real standard output through
its telemetry, which is slow. Only a bounded part of the output goes that way, while the command
runs.
"""

import base64
import math

from revalid.jobs.job import LimitName
from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.protocol import ExecResult, Stream, WrittenReport
from revalid.worker.serving import VISIT_S, Probe, Server, Serving

TOOLS = "/.revalid-tools"
"""Where the tools that revalid itself runs in a container are mounted."""
REPORT = "/.revalid/report"
NONCE = "REVALID_NONCE"
STOP = "/.revalid-stop"
"""Where the wrapper looks for a file named by its nonce, which asks it to end the command."""
REUSABLE = "reusable"
"""The key of a run that may be replayed; its nonce is in the variable :data:`NONCE`."""
ENGINE_VARIABLES = (
    *("BAGGAGE", "TRACEPARENT", "TRACESTATE", "OTEL_TRACES_EXPORTER"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    *("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"),
    *("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"),
    *("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    "OTEL_EXPORTER_OTLP_TRACES_LIVE",
)
"""The variables that the engine sets in each container; exec.sh removes them."""
_STOP_SCRIPT = f"""
PATH={TOOLS}
find "$1" -type f -mmin +60 -exec rm -f {{}} +
echo "$3" >"$1/.$2" && mv "$1/.$2" "$1/$2"
"""

_WAIT_SCRIPT = f"""
PATH={TOOLS}
until [ -e "$1" ]; do sleep 0.05; done
cat "$1" && rm -f "$1"
"""


def wrapped(
    command: str,
    owner: str,
    timeout_s: float,
    output_bytes: int,
    limits: CommandLimits,
    key: str,
    live_bytes: int = 0,
    probe: Probe | None = None,
    reports: bool = False,
    visited: bool = False,
) -> list[str]:
    """Return the argument list that runs ``command``; equal lists on equal files may be replayed.

    Args:
        owner: The user of the command as ``uid:gid``; ``0`` for root.
        key: The run's nonce, or :data:`REUSABLE`.
        live_bytes: Bytes of output to print while the command runs.
        probe: What to ask the server that it starts; None if it starts none.
        reports: Whether to add the reports of tests that it wrote.
        visited: Whether another container uses the server once it answered.
    """
    numbers = [round(timeout_s * 100), round(protocol.KILL_GRACE_S * 100), output_bytes]
    bounds = [
        limits.memory_bytes // 1024,
        limits.processes,
        limits.disk_bytes // 512,
        math.ceil(limits.cpu_s or 0),
        live_bytes,
        limits.threads,
        int(reports),
    ]
    asked: tuple[object, ...] = ()
    if probe:
        visit = round(VISIT_S * 100) if visited else 0
        ready = round(probe.ready_s * 100)
        asked = (ready, probe.port, probe.most_status, probe.page_port, visit, *probe.paths)
    rest = map(str, (*numbers, key, *bounds, *asked))
    return [f"{TOOLS}/sh", f"{TOOLS}/exec.sh", "start", command, owner, *rest]


def engine_variable(name: str) -> str:
    """Return the name under which a variable of the job reaches the wrapper.

    The engine overwrites some variables in each container. The wrapper removes these and restores
    the job's own.
    """
    return f"REVALID_OWN_{name}" if name in ENGINE_VARIABLES else name


def wait_command(nonce: str) -> list[str]:
    """Return the argument list that waits for a run's server, and prints the way to it."""
    return [f"{TOOLS}/sh", "-c", _WAIT_SCRIPT, "revalid", f"{STOP}/{nonce}.up"]


def seen_command(nonce: str) -> list[str]:
    """Return the argument list that tells the wrapper of a run that its visit has ended."""
    return [f"{TOOLS}/sh", "-c", f': >"{STOP}/$1.seen"', "revalid", nonce]


def parse_server(line: str) -> Server:
    """Read what :func:`wait_command` prints.

    Raises:
        ValueError: It printed something else.
    """
    address, gate, token, port = line.split()
    return Server(int(port), (address, int(gate), token))


def stop_command(nonce: str) -> list[str]:
    """Return the argument list that asks the wrapper of a run to end it, from another container."""
    grace = str(round(protocol.CANCEL_GRACE_S * 100))
    return [f"{TOOLS}/sh", "-c", _STOP_SCRIPT, "revalid", STOP, nonce, grace]


def parse_report(report: str, nonce: str, probe: Probe | None = None) -> ExecResult:
    """Read the wrapper's report; a nonce other than this run's means that it was replayed."""
    try:
        header, *streams = report.split("\n")
        code, timed_out, centiseconds, out_size, err_size, reported_nonce, limit = header.split()
        streams, reports = _split(streams)
        out_head, out_tail, err_head, err_tail = (base64.b64decode(s) for s in streams[:4])
        return ExecResult(
            exit_code=int(code),
            stdout=Stream(out_head, out_tail, int(out_size)),
            stderr=Stream(err_head, err_tail, int(err_size)),
            duration_s=int(centiseconds) / 100,
            timed_out=timed_out == "1",
            cancelled=timed_out == "2",
            limit_exceeded=None if limit == "-" else LimitName(limit),
            cached=reported_nonce != nonce,
            serving=_serving(streams[4:], probe) if probe else None,
            reports=tuple(map(_written_report, reports)),
        )
    except (ValueError, IndexError):
        return _result_without_report("the command overwrote the report of its own run", 1)


def _split(lines: list[str]) -> tuple[list[str], list[str]]:
    """Split a report into what it says of the command, and the reports of tests."""
    if "reports" not in lines:
        return lines, []
    at = lines.index("reports")
    return lines[:at], [line for line in lines[at + 1 :] if line]


def _written_report(line: str) -> WrittenReport:
    path, _, content = line.partition(" ")
    name = base64.b64decode(path).decode(errors="replace").removesuffix("\n")
    return WrittenReport(name.removeprefix(f"{protocol.WORKDIR}/"), base64.b64decode(content))


def _serving(lines: list[str], probe: Probe) -> Serving:
    ready, port, path, status, script, ended, ignored = lines[0].split()
    asked = path not in ("-", "0")
    asked_path = probe.paths[int(path) - 1] if asked else None
    return Serving(
        ready_s=None if ready == "-" else int(ready) / 100,
        port=None if port == "-" else int(port),
        path=asked_path if script == "-" else script,
        status=int(status) if asked else None,
        response=base64.b64decode(lines[1]),
        ended=ended == "1",
        ignored_sigterm=ignored == "1",
    )


def overdue_result() -> ExecResult:
    """Return the result of a command whose wrapper did not return at the time limit."""
    return _result_without_report(
        "the command stopped its own shell; its output is lost", 137, timed_out=True
    )


def stopped_result(streams: tuple[Stream, Stream], took_s: float) -> ExecResult:
    """Return the result of a command whose container was stopped at its caller's request.

    Args:
        streams: The output that arrived while it ran.
    """
    return ExecResult(137, *streams, took_s, cancelled=True)


def killed_result(exit_code: int) -> ExecResult:
    """Return the result of a command whose wrapper was ended by a signal.

    The container ran out of memory, or the command killed every process.
    """
    return _result_without_report(
        f"the command's shell was ended (exit code {exit_code}): "
        "out of memory, or killed by the command; its output is lost",
        exit_code,
    )


def _result_without_report(reason: str, exit_code: int, *, timed_out: bool = False) -> ExecResult:
    message = f"revalid: {reason}\n".encode()
    return ExecResult(
        exit_code, Stream(b"", b"", 0), Stream(message, b"", len(message)), 0.0, timed_out=timed_out
    )
