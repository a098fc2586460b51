"""From what a sandbox did to the result of a step."""

from time import monotonic

from revalid.jobs.result import StepResult
from revalid.jobs.steps import Exec, Step
from revalid.worker.run.output import to_text
from revalid.worker.sandboxes.limits import CommandLimits, limit_text
from revalid.worker.sandboxes.protocol import ExecResult
from revalid.worker.secrets import Scrubber


def command_result(
    name: str, step: Exec, ran: ExecResult, scrubber: Scrubber, limits: CommandLimits
) -> StepResult:
    """The result of a command; where a limit ended it, its standard error says so last."""
    result = StepResult(
        name=name,
        command=step.command,
        exit_code=ran.exit_code,
        stdout=to_text(ran.stdout, scrubber),
        stderr=to_text(ran.stderr, scrubber),
        stdout_bytes=ran.stdout.size,
        stderr_bytes=ran.stderr.size,
        truncated=ran.stdout.truncated or ran.stderr.truncated,
        duration_s=0.0 if ran.cached else round(ran.duration_s, 3),
        saved_s=round(ran.duration_s, 3) if ran.cached else 0.0,
        cancelled=ran.cancelled,
        timed_out=ran.timed_out,
        limit_exceeded=ran.limit_exceeded,
        limit_value=limit_text(ran.limit_exceeded, limits) if ran.limit_exceeded else None,
        cached=ran.cached,
        allow_failure=step.allow_failure,
    )
    if result.over_limit is None:
        return result
    apart = "\n" if result.stderr and not result.stderr.endswith("\n") else ""
    said = f"{result.stderr}{apart}[revalid: ended, {result.over_limit}]\n"
    return result.model_copy(update={"stderr": said})


def file_result(
    name: str, step: Step, code: int, said: str, failed: str, cap: int, started: float
) -> StepResult:
    """The result of a step that ran no command, or could not.

    Args:
        said: What the step read, scrubbed; ``cap`` characters of it are kept.
        failed: Why it failed, scrubbed.
        started: When it started, by the monotonic clock.
    """
    return StepResult(
        name=name,
        op=step.op,
        command=getattr(step, "command", None),
        exit_code=code,
        stdout=said[:cap],
        stderr=failed,
        stdout_bytes=len(said.encode()),
        stderr_bytes=len(failed.encode()),
        truncated=len(said) > cap,
        duration_s=round(monotonic() - started, 3),
    )
