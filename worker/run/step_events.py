"""What the runner tells of steps; :mod:`revalid.jobs.events` lists the events."""

from typing import Any

from revalid.jobs.result import StepResult
from revalid.jobs.steps import Exec, Step
from revalid.worker.run.file_steps import describe_step
from revalid.worker.strategies.dispatch import Plan, PlannedStep

_SHOWN = {
    *(
        "name",
        "status",
        "exit_code",
        "duration_s",
        "timed_out",
        "limit_exceeded",
        "limit_value",
        "cancelled",
    ),
    *("cached", "saved_s", "skipped_reason"),
}

_COMMAND = 1_000
"""Characters of a command that an event holds; the result has it whole."""


def plan_event(plan: Plan) -> dict[str, Any]:
    """The data of a ``plan`` event."""
    return {
        "strategy": plan.strategy,
        "reason": plan.reason,
        "steps": [describe_step(planned.step) for planned in plan.steps],
        "notes": list(plan.notes),
    }


def started_event(index: int, step: Step) -> dict[str, Any]:
    """The data of a ``step_started`` event."""
    name = describe_step(step)
    command = (_command(step) or "")[:_COMMAND] or None
    return {"index": index, "op": step.op, "name": name, "command": command}


def finished_event(index: int, result: StepResult) -> dict[str, Any]:
    """The data of a ``step_finished`` event."""
    return {"index": index, "ok": result.ok, **result.model_dump(include=_SHOWN)}


def skipped_result(planned: PlannedStep, reason: str) -> StepResult:
    """The result of a step that did not run."""
    step = planned.step
    return StepResult(
        name=describe_step(step), op=step.op, command=_command(step), skipped_reason=reason
    )


def cancelled_result(planned: PlannedStep, took_s: float) -> StepResult:
    """The result of a step that was given up, and left nothing."""
    return StepResult(
        name=describe_step(planned.step),
        op=planned.step.op,
        command=_command(planned.step),
        cancelled=True,
        duration_s=round(took_s, 3),
    )


def _command(step: Step) -> str | None:
    return step.command if isinstance(step, Exec) else None
