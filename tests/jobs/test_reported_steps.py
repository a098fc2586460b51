"""Steps from the events of an attempt that could not report."""

from typing import Any

from revalid.jobs.events import Event, make_event
from revalid.jobs.reported_steps import steps_from_events


def event(type_: str, **data: Any) -> Event:
    event = make_event("1-1", type_, data)
    assert event is not None
    return event


def test_steps_are_those_of_the_last_attempt() -> None:
    steps = steps_from_events(
        [
            event("started"),
            event("step_started", index=0, op="exec", name="old", command="old"),
            event("requeued", reason="its worker was lost"),
            event("started"),
            event("plan", steps=["install", "test"]),
            event("step_started", index=0, op="exec", name="install", command="npm ci"),
            event("output", index=0, stream="stdout", text="added "),
            event("output", index=0, stream="stdout", text="3 packages\n"),
            event("step_finished", index=0, name="install", ok=True, exit_code=0, duration_s=2.5),
            event("step_started", index=1, op="exec", name="test", command="npm test"),
            event("output", index=1, stream="stderr", text="é"),
        ]
    )
    assert [(s.name, s.command, s.exit_code, s.stdout, s.outcome) for s in steps] == [
        ("install", "npm ci", 0, "added 3 packages\n", ""),
        ("test", "npm test", None, "", "its end was not seen"),
    ]
    assert (steps[1].stderr, steps[1].stderr_bytes, steps[1].ok) == ("é", 2, False)


def test_step_whose_start_is_no_longer_kept_is_told_by_its_end() -> None:
    (step,) = steps_from_events(
        [
            event("output", index=3, stream="stdout", text="lost"),
            event("step_finished", index=3, name="lint", allow_failure=True, exit_code=1),
        ]
    )
    assert (step.name, step.exit_code, step.allow_failure, step.stdout) == ("lint", 1, True, "")


def test_attempt_that_began_nothing_has_no_steps() -> None:
    assert (
        steps_from_events([event("queued"), event("started"), event("requeued", reason="")]) == ()
    )
