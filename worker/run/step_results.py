"""Builds the result of a step from its outcome in the sandbox."""

from time import monotonic

from revalid.jobs.encoding import encodable
from revalid.jobs.result import StepResult
from revalid.jobs.steps import Exec, Step
from revalid.worker.run.output import to_text
from revalid.worker.sandboxes.limits import CommandLimits, limit_text
from revalid.worker.sandboxes.protocol import ExecResult, Stream
from revalid.worker.secrets import Scrubber


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
