"""Reconstructs the steps of an attempt that ended without a result from its events."""

from collections.abc import Iterable, Mapping
from typing import Any

from revalid.jobs.events import Event
from revalid.jobs.result import StepResult


def steps_from_events(events: Iterable[Event]) -> tuple[StepResult, ...]:
    """Return the steps of the last attempt, with the output that their events carry.

    A step without a ``step_finished`` event has no exit code.
    """
    steps: dict[int, dict[str, Any]] = {}
    for event in events:
        if event.type in ("started", "plan"):  # a new attempt
            steps.clear()
        elif event.type == "step_started":
            steps[event.data["index"]] = {"name": "", "stdout": "", "stderr": ""} | _of_step(event)
        elif event.type == "output" and (step := steps.get(event.data["index"])):
            step[event.data["stream"]] += event.data["text"]
        elif event.type == "step_finished":
            steps.setdefault(event.data["index"], {}).update(_of_step(event))
    return tuple(_step(steps[index]) for index in sorted(steps))


def _of_step(event: Event) -> dict[str, Any]:
    data: Mapping[str, Any] = event.data
    return {name: data[name] for name in StepResult.model_fields if name in data}


def _step(fields: dict[str, Any]) -> StepResult:
    sizes = {f"{name}_bytes": len(fields.get(name, "").encode()) for name in ("stdout", "stderr")}
    return StepResult(**fields, **sizes)
