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
            started = {"name": "", "stdout": "", "stderr": ""}
            steps[event.data["index"]] = started | step_fields(event.data)
        elif event.type == "output" and (step := steps.get(event.data["index"])):
            step[event.data["stream"]] += event.data["text"]
        elif event.type == "step_finished":
            steps.setdefault(event.data["index"], {}).update(step_fields(event.data))
    return tuple(_step(steps[index]) for index in sorted(steps))


def step_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the data of an event says of its step, as fields of its result."""
    return {name: data[name] for name in StepResult.model_fields if name in data}


def _step(fields: dict[str, Any]) -> StepResult:
    sizes = {f"{name}_bytes": len(fields.get(name, "").encode()) for name in ("stdout", "stderr")}
    return StepResult(**fields, **sizes)
