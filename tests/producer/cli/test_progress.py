"""The lines that are printed while a job runs."""

from typing import Any

from revalid.jobs.events import Event, make_event
from revalid.jobs.result import SandboxReport, StepResult, StrategyReport, Verdict
from revalid.producer.cli.progress import Progress
from tests.producer.cli.conftest import console, printed, result


def event(type_: str, **data: Any) -> Event:
    event = make_event("1-0", type_, data)
    assert event is not None
    return event


def finished(index: int, name: str, code: int | None = 0, **data: Any) -> Event:
    fields = {"exit_code": code, "duration_s": 0.5, "ok": code in (0, None), **data}
    return event("step_finished", index=index, name=name, **fields)


def test_progress_without_a_terminal_is_plain_lines() -> None:
    out = console()
    with Progress(out, live=False) as progress:
        progress.show(
            [
                event("queued"),
                event("started", worker="w", attempt=1),
                event(
                    "sandbox",
                    kind="local",
                    fallback_reason="no engine: a paragraph",
                    image="busybox",
                ),
                event("plan", strategy="npm", reason="package.json", steps=["build", "test"]),
                event("step_started", index=0, name="build", command="make"),
                event("output", index=0, stream="stdout", text="one\ntw"),
                event("output", index=0, stream="stderr", text="\x1b[31mwarning\x1b[0m\n"),
                event("output", index=0, stream="stdout", text="o\n\nthree"),
                finished(0, "build"),
                finished(1, "test", None, skipped_reason="no test script"),
                event("finished", verdict="passed"),
            ]
        )
    assert printed(out) == (
        "  sandbox   local, because no Dagger engine answers; `revalid doctor` says why\n"
        "  strategy  npm: package.json\n"
        "    build │ one\n"
        "    build │ warning\n"
        "    build │ two\n"
        "    build │ three\n"
        "  ✓ build  0.5 s\n"
        "  \u2013 test  skipped: no test script\n"
    )


def test_progress_prints_each_line_once_even_without_its_event() -> None:
    out = console()
    with Progress(out, live=False) as progress:
        progress.show(
            [
                event("plan", strategy="npm", reason="", steps=["build", "test"]),
                finished(0, "build", 1),
            ]
        )
        progress.settle(
            result(
                Verdict.FAILED,
                StepResult(name="build", exit_code=1, duration_s=0.5),
                StepResult(name="test", exit_code=0, duration_s=1),
                sandbox=SandboxReport(kind="dagger"),
                strategy=StrategyReport(name="npm"),
            )
        )
    assert printed(out) == (
        "  strategy  npm\n  ✗ build  0.5 s  exit 1\n  sandbox   dagger, busybox\n  ✓ test   1.0 s\n"
    )


def test_progress_of_a_second_attempt_starts_over() -> None:
    out = console()
    plan = event("plan", strategy="npm", reason="", steps=["build"])
    with Progress(out, live=False) as progress:
        progress.show([plan, finished(0, "build"), event("requeued")])
        progress.show([event("started", worker="w", attempt=2), plan, event("cancelling")])
        progress.settle(result(Verdict.PASSED, StepResult(name="build", exit_code=0)))
    assert printed(out) == (
        "  strategy  npm\n"
        "  ✓ build  0.5 s\n"
        "  back in the queue: its worker gave the job back\n"
        "  attempt 2: from the start\n"
        "  cancelling\n"
        "  ✓ build  0.0 s\n"
    )


def test_progress_says_why_a_job_is_back_in_the_queue() -> None:
    out = console()
    with Progress(out, live=False) as progress:
        progress.show([event("queued"), event("requeued", reason="its worker was lost")])
    assert printed(out) == "  back in the queue: its worker was lost\n"
