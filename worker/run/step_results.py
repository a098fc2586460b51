"""Builds the result of a step from its outcome in the sandbox."""

from time import monotonic

from revalid.jobs.encoding import encodable
from revalid.jobs.result import StartReport, StepResult
from revalid.jobs.steps import Exec, Step
from revalid.worker.run.output import to_text
from revalid.worker.sandboxes.limits import CommandLimits, limit_text
from revalid.worker.sandboxes.protocol import ExecResult, Stream
from revalid.worker.secrets import Scrubber
from revalid.worker.serving import Probe, Serving, body_of

_BODY_BYTES = 4_096
_BODY_LINES = 20


def command_result(
    name: str, step: Exec, exec_result: ExecResult, scrubber: Scrubber, limits: CommandLimits
) -> StepResult:
    """Return the result of a command; its standard error ends with a limit that was exceeded."""
    limit = exec_result.limit_exceeded
    result = StepResult(
        name=name,
        command=step.command,
        exit_code=exec_result.exit_code,
        stdout=to_text(exec_result.stdout, scrubber),
        stderr=to_text(exec_result.stderr, scrubber),
        stdout_bytes=exec_result.stdout.size,
        stderr_bytes=exec_result.stderr.size,
        truncated=exec_result.stdout.truncated or exec_result.stderr.truncated,
        duration_s=0.0 if exec_result.cached else round(exec_result.duration_s, 3),
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
    text = scrubber.before_cut(body_of(serving.response)[:_BODY_BYTES].decode(errors="replace"))
    return StartReport(
        ready_s=None if serving.ready_s is None else round(serving.ready_s, 2),
        port=serving.port,
        path=serving.path,
        status=serving.status,
        body="\n".join(text.splitlines()[:_BODY_LINES]),
        ignored_sigterm=serving.ignored_sigterm,
        problem=_problem(exec_result.exit_code, serving, probe),
    )


def _problem(exit_code: int, serving: Serving, probe: Probe) -> str | None:
    if serving.ended:
        did = "listened" if serving.port is None else "answered"
        return f"it ended before it {did} (exit {exit_code})"
    if serving.ready_s is not None:
        return None
    if serving.port is None:
        return f"it listened on no port within {probe.ready_s:g} s"
    if serving.status is None:
        return f"it gave no HTTP answer on port {serving.port} within {probe.ready_s:g} s"
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
    head = text.head.decode(errors="replace")
    return StepResult(
        name=name,
        op=step.op,
        command=getattr(step, "command", None),
        exit_code=code,
        # Scrubbing all of a long text would take too long.
        stdout=scrubber.before_cut(head) if text.truncated else scrubber.text(head),
        stderr=error,
        stdout_bytes=text.size,
        stderr_bytes=len(error.encode()),
        truncated=text.truncated,
        duration_s=round(monotonic() - started, 3),
    )
