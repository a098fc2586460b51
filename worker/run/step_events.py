"""Builds the events of plans and steps; :mod:`revalid.jobs.events` lists them."""

from typing import Any

from revalid.jobs.result import StepResult
from revalid.jobs.steps import Exec, Step
from revalid.worker.run.file_steps import describe_step
from revalid.worker.strategies.dispatch import Plan, PlannedStep

_EVENT_FIELDS = {
    *("name", "status", "exit_code", "duration_s", "timed_out", "limit_exceeded", "limit_value"),
    *("cancelled", "cached", "saved_s", "allow_failure", "skipped_reason", "tampered"),
    *("tests", "flaky_passes", "start"),
}
_TOO_LARGE = {"tests": {"cases", "cases_omitted"}, "start": {"body"}}

_MAX_COMMAND = 1_000
"""Characters of a command in an event; the result has the whole command."""


def plan_event(plan: Plan) -> dict[str, Any]:
    """Return the data of a ``plan`` event."""
    return {
        "strategy": plan.strategy,
        "reason": plan.reason,
        "steps": [describe_step(planned.step) for planned in plan.steps],
        "notes": list(plan.notes),
    }


def started_event(index: int, step: Step) -> dict[str, Any]:
    """Return the data of a ``step_started`` event."""
    name = describe_step(step)
    command = (_command(step) or "")[:_MAX_COMMAND] or None
    return {"index": index, "op": step.op, "name": name, "command": command}


def finished_event(index: int, result: StepResult) -> dict[str, Any]:
    """Return the data of a ``step_finished`` event."""
    fields = result.model_dump(mode="json", include=_EVENT_FIELDS, exclude=_TOO_LARGE)
    return {"index": index, "ok": result.ok, **fields}


def skipped_result(planned: PlannedStep, reason: str) -> StepResult:
    """Return the result of a step that did not run."""
    step = planned.step
    return StepResult(
        name=describe_step(step),
        check=planned.check,
        op=step.op,
        command=_command(step),
        skipped_reason=reason,
    )


def cancelled_result(planned: PlannedStep, duration_s: float) -> StepResult:
    """Return the result of a step that was cancelled and gave no output."""
    return StepResult(
        name=describe_step(planned.step),
        check=planned.check,
        op=planned.step.op,
        command=_command(planned.step),
        cancelled=True,
        duration_s=round(duration_s, 3),
    )


def _command(step: Step) -> str | None:
    return step.command if isinstance(step, Exec) else None
