"""What the runner tells of steps; :mod:`jobs.events` lists the events."""

from typing import Any

from jobs.result import StepResult
from jobs.steps import Exec, Step
from worker.plan import Plan, PlannedStep
from worker.steps import describe_step

_SHOWN = {
    *("name", "exit_code", "duration_s", "timed_out", "killed_by", "killed_at", "cached"),
    "skipped_reason",
}


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
    return {"index": index, "name": describe_step(step), "command": _command(step)}


def finished_event(index: int, result: StepResult) -> dict[str, Any]:
    """The data of a ``step_finished`` event."""
    return {"index": index, "ok": result.ok, **result.model_dump(include=_SHOWN)}


def skipped_result(planned: PlannedStep, reason: str) -> StepResult:
    """The result of a step that did not run, or not to its end."""
    step = planned.step
    return StepResult(
        name=describe_step(step), op=step.op, command=_command(step), skipped_reason=reason
    )


def _command(step: Step) -> str | None:
    return step.command if isinstance(step, Exec) else None
