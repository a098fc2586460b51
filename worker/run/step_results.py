"""Builds the result of a step from its outcome in the sandbox."""

import re
from time import monotonic

from revalid.jobs.encoding import encodable
from revalid.jobs.result import StartReport, StepResult
from revalid.jobs.steps import Exec, Step
from revalid.worker.run.output import scrubbed_head, to_text
from revalid.worker.sandboxes.limits import CommandLimits, limit_text
from revalid.worker.sandboxes.protocol import ExecResult, Stream
from revalid.worker.secrets import Scrubber
from revalid.worker.serving import HOLD_S, Probe, Serving, body_of, other_protocol

_BODY_BYTES = 4_096
_BODY_LINES = 20
_NOT_COMPILED = re.compile(
    rb"\[vite\] (?:Internal server error|Pre-transform error)|^Failed to compile\b", re.M | re.I
)
"""What development servers print that answer with a page although it does not compile."""


def command_result(
    name: str, step: Exec, exec_result: ExecResult, scrubber: Scrubber, limits: CommandLimits
) -> StepResult:
    """Return the result of a command; its standard error ends with a limit that was exceeded."""
    limit = exec_result.limit_exceeded
    runs = [run for run in (exec_result.setup, exec_result) if run is not None]
    result = StepResult(
        name=name,
        command=step.command,
        exit_code=exec_result.exit_code,
        stdout="".join(to_text(run.stdout, scrubber) for run in runs),
        stderr="".join(to_text(run.stderr, scrubber) for run in runs),
        stdout_bytes=sum(run.stdout.size for run in runs),
        stderr_bytes=sum(run.stderr.size for run in runs),
        truncated=any(run.stdout.truncated or run.stderr.truncated for run in runs),
        duration_s=0.0 if exec_result.cached else round(sum(run.duration_s for run in runs), 3),
        saved_s=round(exec_result.duration_s, 3) if exec_result.cached else 0.0,
        cancelled=exec_result.cancelled,
        timed_out=exec_result.timed_out,
        limit_exceeded=limit,
        limit_value=limit_text(limit, limits) if limit else None,
        cached=exec_result.cached,
        allow_failure=step.allow_failure,
    )
    if result.over_limit is None:
        return result
    separator = "\n" if result.stderr and not result.stderr.endswith("\n") else ""
    stderr = f"{result.stderr}{separator}[revalid: ended, {result.over_limit}]\n"
    return result.model_copy(update={"stderr": stderr})


def start_report(exec_result: ExecResult, probe: Probe, scrubber: Scrubber) -> StartReport | None:
    """Return what a server did; None if it was ended before that could be known."""
    serving = exec_result.serving
    if serving is None or exec_result.timed_out or exec_result.cancelled:
        return None
    setup = exec_result if serving.setup_failed else exec_result.setup
    text = ""
    if serving.status is not None:
        text = scrubbed_head(body_of(serving.response)[:_BODY_BYTES], scrubber)
    return StartReport(
        ready_s=None if serving.ready_s is None else round(serving.ready_s, 2),
        setup_s=None if setup is None else round(setup.duration_s, 2),
        port=serving.port,
        path=serving.path,
        status=serving.status,
        body="\n".join(text.splitlines()[:_BODY_LINES]),
        ignored_sigterm=serving.ignored_sigterm,
        problem=_problem(exec_result, serving, probe),
    )


def start_unknown(exec_result: ExecResult) -> str | None:
    """Return why it is not known whether a server works; None if it is known."""
    serving = exec_result.serving
    if serving is None or serving.ready_s is not None:
        return None
    if serving.taken_port is not None:
        return f"another process of the worker's machine holds its port {serving.taken_port}"
    if serving.ended:
        return None
    protocol = other_protocol(serving)
    if protocol is None:
        return None
    return f"it listens on port {serving.port} and speaks {protocol}; only HTTP is asked"


def _problem(exec_result: ExecResult, serving: Serving, probe: Probe) -> str | None:
    code = exec_result.exit_code
    if serving.setup_failed:
        return f"its migrations failed (exit {code})"
    if serving.ended and serving.ready_s is not None:
        return f"it ended while a browser used it (exit {code})"
    if serving.ended:
        if serving.status is not None and serving.status <= probe.most_status:
            return f"it ended {HOLD_S:g} s or less after it answered (exit {code})"
        did = "listened" if serving.port is None else "answered"
        return f"it ended before it {did} (exit {code})"
    if serving.ready_s is not None:
        log = b"".join(
            part
            for stream in (exec_result.stdout, exec_result.stderr)
            for part in (stream.head, stream.tail)
        )
        match = _NOT_COMPILED.search(log)
        return f"it answered, but it did not compile: {match[0].decode()}" if match else None
    if serving.port is None:
        return f"it listened on no port within {probe.ready_s:g} s"
    if serving.status is None:
        return f"it gave no HTTP answer on port {serving.port} within {probe.ready_s:g} s"
    if serving.status <= probe.most_status:
        return f"it answered {serving.status} to {serving.path}, but did not stay up"
    return f"it answered {serving.status} to {serving.path} for {probe.ready_s:g} s"


def file_result(
    name: str, step: Step, code: int, text: Stream, error: str, scrubber: Scrubber, started: float
) -> StepResult:
    """Return the result of a file step, or of a command that could not start.

    Args:
        text: What the step read.
        error: Why it failed; empty if it did not.
        started: When it started, by the monotonic clock.
    """
    error = scrubber.text(encodable(error))
    return StepResult(
        name=name,
        op=step.op,
        command=getattr(step, "command", None),
        exit_code=code,
        # Scrubbing all of a long text would take too long.
        stdout=scrubbed_head(text.head, scrubber)
        if text.truncated
        else scrubber.text(text.head.decode(errors="replace")),
        stderr=error,
        stdout_bytes=text.size,
        stderr_bytes=len(error.encode()),
        truncated=text.truncated,
        duration_s=round(monotonic() - started, 3),
    )
