"""Prints the progress of a job: a line for each ended step, and the output of running steps.

On a terminal the last lines of the running steps are redrawn in place; elsewhere each line is
printed once.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from revalid.jobs.events import Event
from revalid.jobs.reported_steps import step_fields
from revalid.jobs.result import JobResult, SandboxReport, StepResult, StrategyReport
from revalid.producer.cli.verdict import (
    name_width,
    print_fact,
    sandbox_words,
    step_line,
    strategy_words,
)
from revalid.producer.sanitize import clean, one_line, seconds

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_LIVE_LINES = 8


@dataclass
class _Running:
    name: str
    since: float = field(default_factory=time.monotonic)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LIVE_LINES))
    unfinished: dict[str, str] = field(default_factory=dict)


class Progress:
    """Prints a job's events.

    Args:
        console: The console to print to.
        live: Whether to redraw in place; only for terminals.
    """

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._phase = _Running("starting")
        self._printed: set[str] = set()
        self._ended: set[int] = set()
        self._running: dict[int, _Running] = {}
        self._planned = 0
        self._width = 0
        # Redrawn by tick(), not by a thread of its own: the state has one owner.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, get_renderable=self._picture
        )
        self._is_live = live

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a remark."""
        self._print(Text(f"  {text}", "yellow"))

    def job(self, job_id: str, *, joined: bool) -> None:
        """Print the id of the followed job."""
        self._print_fact("job", job_id, ", under way already" if joined else "")

    def tick(self) -> None:
        """Redraw the running steps; call this often while nothing happens."""
        if self._is_live:
            self._live.refresh()

    def show(self, events: Iterable[Event]) -> None:
        """Print events."""
        for event in events:
            handler = getattr(self, f"_on_{event.type}", None)
            if handler is not None:
                handler(event.data)
        self.tick()

    def settle(self, result: JobResult) -> None:
        """Print the lines that no event has printed."""
        self._running.clear()
        self._width = self._width or name_width(step.name for step in result.steps)
        if result.sandbox.kind is not None:
            self._print_fact("sandbox", *sandbox_words(result.sandbox, result.image))
        if result.strategy is not None:
            self._print_fact("strategy", *strategy_words(result.strategy))
        for index, step in enumerate(result.steps):
            if index not in self._ended:
                self._print(step_line(step, self._width))

    def _on_queued(self, _data: dict[str, Any]) -> None:
        self._phase = _Running("waiting for a worker")

    def _on_started(self, data: dict[str, Any]) -> None:
        self._phase = _Running("preparing")
        if (attempt := data.get("attempt", 1)) > 1:
            self.say(f"attempt {attempt}: from the start")

    def _on_requeued(self, data: dict[str, Any]) -> None:
        reason = one_line(str(data.get("reason") or "its worker gave the job back"))
        self.say(f"back in the queue: {reason}")
        self._on_queued(data)

    def _on_cancelling(self, _data: dict[str, Any]) -> None:
        self.say("cancelling")

    def _on_sandbox(self, data: dict[str, Any]) -> None:
        report = SandboxReport(
            kind=data.get("kind"), fallback_reason=data.get("fallback_reason") or None
        )
        self._print_fact("sandbox", *sandbox_words(report, str(data.get("image", ""))))

    def _on_plan(self, data: dict[str, Any]) -> None:
        self._running.clear()  # a sandbox that broke is opened again, and the plan starts over
        self._ended.clear()
        self._phase = _Running("working")
        names = [str(name) for name in data.get("steps", ())]
        self._planned = len(names)
        self._width = name_width(names)
        report = StrategyReport(name=str(data.get("strategy")), reason=str(data.get("reason", "")))
        self._print_fact("strategy", *strategy_words(report))

    def _on_step_started(self, data: dict[str, Any]) -> None:
        self._running[data["index"]] = _Running(one_line(data["name"]))

    def _on_output(self, data: dict[str, Any]) -> None:
        step = self._running.get(data["index"])
        if step is not None:
            text = step.unfinished.get(data["stream"], "") + data["text"]
            whole, _, step.unfinished[data["stream"]] = text.rpartition("\n")
            self._write(step, whole)

    def _on_step_finished(self, data: dict[str, Any]) -> None:
        index = data["index"]
        step = self._running.pop(index, None)
        if step is not None:
            for rest in step.unfinished.values():
                self._write(step, rest)
        self._ended.add(index)
        self._phase = _Running("finishing" if len(self._ended) == self._planned else "working")
        self._print(step_line(StepResult(**step_fields(data)), self._width))

    def _write(self, step: _Running, text: str) -> None:
        lines = [line for line in clean(text).split("\n") if line.strip()]
        step.last.extend(lines)
        if not self._is_live:
            for line in lines:
                self._print(Text.assemble((f"    {step.name} │ ", "dim"), line))

    def _print_fact(self, label: str, *words: str) -> None:
        if label not in self._printed:
            self._printed.add(label)
            print_fact(self._console, label, *words)

    def _print(self, line: Text) -> None:
        self._console.print(line)

    def _picture(self) -> RenderableType:
        steps = list(self._running.values())
        rows: list[RenderableType] = []
        for step in steps or [self._phase]:
            elapsed = seconds(time.monotonic() - step.since)
            mark = _FRAMES[int(time.monotonic() * 5) % len(_FRAMES)]
            head = Text.assemble("  ", (mark, "cyan"), f" {step.name}", (f"  {elapsed}", "dim"))
            rows.append(_cropped(head))
            keep = max(1, _LIVE_LINES // max(1, len(steps)))
            rows.extend(_cropped(Text(f"    {line}", "dim")) for line in list(step.last)[-keep:])
        return Group(*rows)


def _cropped(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
