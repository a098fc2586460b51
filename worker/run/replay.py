"""The steps of one plan, replayed in one sandbox and in forks of it."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from revalid.jobs.encoding import json_size, within
from revalid.jobs.job import Job
from revalid.jobs.result import StepResult, StepStatus
from revalid.jobs.settings import Settings
from revalid.jobs.steps import Exec
from revalid.worker.run.file_steps import apply_step, describe_step
from revalid.worker.run.output import LIVE_BYTES, Emit, LiveOutput
from revalid.worker.run.project import Project
from revalid.worker.run.step_events import (
    cancelled_result,
    finished_event,
    skipped_result,
    started_event,
)
from revalid.worker.run.step_results import command_result, file_result
from revalid.worker.run.tool_versions import tool_versions
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.protocol import CANCEL_GRACE_S, ExecResult, Sandbox, StepFailed
from revalid.worker.sandboxes.shielding import shielded
from revalid.worker.secrets import Scrubber
from revalid.worker.strategies.dispatch import Plan, PlannedStep
from revalid.worker.tracing import record_step, step_span

TOTAL_OUTPUT_BYTES = 8 * 2**20
SIDE_BY_SIDE = max(2, min(4, os.cpu_count() or 1))
"""Steps of one job that run at a time."""
_MIN_OUTPUT_BYTES = 1_024
_STOP_TIMEOUT_S = CANCEL_GRACE_S + 3.0
"""Seconds that a command which is asked to end may take to do so and report."""


@dataclass
class Replay:
    """What the steps came to; filled while they run, so that a cancelled replay still reports.

    Args:
        artifacts: Where ``export_directory`` steps write; made when first used.
        deadline: When the job's time is over, by the monotonic clock.
        emit: Takes events.

    Attributes:
        done: The results of the steps that ended, by their place in the plan.
        tools: Version of each tool, by name.
        notes: What a reader of the result should know.
        checked: A step ran that decides on the verdict.
    """

    job: Job
    settings: Settings
    plan: Plan
    project: Project
    sandbox: Sandbox
    artifacts: Path
    scrubber: Scrubber
    limits: CommandLimits
    deadline: float
    emit: Emit

    done: dict[int, StepResult] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    checked: bool = False
    _chain: asyncio.Event = field(default_factory=asyncio.Event)
    _live_budget: list[int] = field(default_factory=lambda: [LIVE_BYTES])
    _output_left: int = field(default_factory=lambda: TOTAL_OUTPUT_BYTES)
    _restored: tuple[str, ...] | None = ()
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SIDE_BY_SIDE))

    @property
    def results(self) -> tuple[StepResult, ...]:
        """What the steps that ended came to, in the plan's order."""
        return tuple(self.done[index] for index in sorted(self.done))

    async def run(self) -> None:
        """Take every step: one after another, and beside them those that may run apart.

        A step that runs apart starts from what the installs and the steps it needs left. Where it
        fails there, it runs again on what all the others left: some checks want what a build makes,
        and nothing in their project says so.

        Raises:
            JobError: As the sandbox raises it.
        """
        steps = list(enumerate(self.plan.steps))
        # Artifacts are looked for in one sandbox.
        forks = self.sandbox.forks_freely and not self.job.artifacts
        chain = [(index, step) for index, step in steps if not (forks and step.parallel)]
        waiting = [(index, step) for index, step in steps if forks and step.parallel]
        try:
            async with asyncio.TaskGroup() as tasks, self._room:
                for place in range(len(chain) + 1):
                    later = chain[place:]
                    free = [(i, step) for i, step in waiting if _is_free(step, later)]
                    for index, planned in free:
                        waiting.remove((index, planned))
                        try:
                            await self._restore(planned)
                        except StepFailed as error:
                            self._tell(index, self._broken(planned, error, monotonic()))
                            continue
                        twin = await self.sandbox.fork()
                        tasks.create_task(self._apart(index, planned, twin, later))
                    if later:
                        await self._take(*later[0])
                await self._note_tools()
                self._chain.set()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _apart(
        self, index: int, planned: PlannedStep, twin: Sandbox, later: list[tuple[int, PlannedStep]]
    ) -> None:
        first = self.done[index] = await self._in_fork(index, planned, twin)
        if first.status is StepStatus.FAILED and not first.allow_failure:
            await self._chain.wait()
            ended = (self.done[other] for other, _ in later)
            if made := [step.name for step in ended if step.status is StepStatus.PASSED]:
                again = await self._in_fork(index, planned, await self.sandbox.fork())
                if again.skipped_reason is None:  # there was time
                    self.done[index] = again
                if again.status is StepStatus.PASSED:
                    self.notes.append(f"{again.name} passes only after {', '.join(made)}")
        self._tell(index, self.done[index])

    async def _in_fork(self, index: int, planned: PlannedStep, twin: Sandbox) -> StepResult:
        try:
            async with self._room:
                return await self._result(index, planned, twin)
        finally:
            await twin.close()

    async def _take(self, index: int, planned: PlannedStep) -> None:
        if planned.inputs != ():  # a setup step, which sees no file, may provide some
            await self._note_tools()
        self._tell(index, await self._result(index, planned, self.sandbox))

    def _tell(self, index: int, result: StepResult) -> None:
        self.done[index] = result
        self.emit("step_finished", finished_event(index, result))

    async def _note_tools(self) -> None:
        if self.plan.tools and not self.tools:
            self.tools.update(await tool_versions(self.sandbox, self.plan.tools, self.scrubber))

    async def _result(self, index: int, planned: PlannedStep, sandbox: Sandbox) -> StepResult:
        step = planned.step
        name = describe_step(step)
        if (reason := self._why_not(planned)) is not None:
            return skipped_result(planned, reason)
        optional = isinstance(step, Exec) and step.allow_failure
        self.checked |= not (planned.install or optional)
        self.emit("step_started", started_event(index, step))
        started = monotonic()
        with step_span(self.scrubber.text(name), step.op) as span:
            try:
                if sandbox is self.sandbox:
                    await self._restore(planned)
                result = await self._apply(index, name, planned, sandbox)
            except StepFailed as error:  # the project broke its workdir, or the line is too long
                result = self._broken(planned, error, started)
            except asyncio.CancelledError:
                self._tell(index, cancelled_result(planned, monotonic() - started))
                raise
            record_step(span, result)
        if result.cancelled:
            self._tell(index, result)
            raise asyncio.CancelledError
        return result

    def _why_not(self, planned: PlannedStep) -> str | None:
        if planned.skipped_reason is not None:
            return planned.skipped_reason
        done = {step.name: step for step in self.done.values()}
        for need in planned.depends_on:
            if need in done and done[need].status is not StepStatus.PASSED:
                return f"{need} did not succeed"
        if self.plan.stops and (failed := next((s for s in done.values() if not s.ok), None)):
            return f"{failed.name} did not succeed"
        if self.time_left() <= 0:
            return f"the job's limit of {self.job.limits.job_timeout_s:g} s was reached"
        return None

    async def _restore(self, planned: PlannedStep) -> None:
        """Upload what the step may see and is not there yet."""
        if self._restored is None or self.job.source is None:
            return
        if planned.inputs is None:
            await self.sandbox.refresh_from_host(self.project.root, "/workspace")
            self._restored = None
        elif missing := tuple(sorted(set(planned.inputs) - set(self._restored))):
            await self.sandbox.refresh_from_host(self.project.root, "/workspace", only=missing)
            self._restored = (*self._restored, *missing)

    async def _apply(
        self, index: int, name: str, planned: PlannedStep, sandbox: Sandbox
    ) -> StepResult:
        step = planned.step
        started = monotonic()
        own = step.timeout_s if isinstance(step, Exec) else None
        limit = max(0.1, min(own or self.job.limits.command_timeout_s, self.time_left()))
        if not isinstance(step, Exec):
            artifact = self.artifacts / str(index)
            try:
                async with asyncio.timeout(limit) as bound:
                    said = await apply_step(step, sandbox, self.settings, artifact)
            except TimeoutError:
                if not bound.expired():
                    raise
                failed = f"{step.op}: not done within {limit:g} s; name less, or raise the limit"
                result = self._file_result(name, planned, 1, "", failed, started)
                return result.model_copy(update={"timed_out": True})
            return self._file_result(name, planned, 0, said, "", started)
        live = LiveOutput(self.emit, index, self.scrubber, self._live_budget)
        ran = await _stoppable(
            lambda stop: sandbox.exec(
                step.command,
                timeout_s=limit,
                output_bytes=self._output_cap(),
                limits=self.limits,
                cacheable=planned.cacheable,
                downloads=planned.install,
                on_output=live.feed,
                stop=stop,
            )
        )
        live.finish()
        return self._bounded(command_result(name, step, ran, self.scrubber, self.limits))

    def _broken(self, planned: PlannedStep, error: StepFailed, started: float) -> StepResult:
        return self._file_result(describe_step(planned.step), planned, 1, "", str(error), started)

    def _file_result(
        self, name: str, planned: PlannedStep, code: int, said: str, failed: str, started: float
    ) -> StepResult:
        cap = self._output_cap()
        said, failed = self.scrubber.text(said), self.scrubber.text(failed)
        return self._bounded(file_result(name, planned.step, code, said, failed, cap, started))

    def _output_cap(self) -> int:
        """Later steps keep less where earlier ones filled the job's whole allowance."""
        share = TOTAL_OUTPUT_BYTES // (4 * max(1, len(self.plan.steps)))
        least = min(_MIN_OUTPUT_BYTES, share)
        return max(least, min(self.job.limits.output_bytes, self._output_left // 4))

    def _bounded(self, result: StepResult) -> StepResult:
        """The result with streams that are no longer in JSON than twice what is kept of them."""
        most = 2 * self._output_cap()
        kept = {name: within(getattr(result, name), most) for name in ("stdout", "stderr")}
        self._output_left -= sum(map(json_size, kept.values()))
        cut = any(text != getattr(result, name) for name, text in kept.items())
        return result.model_copy(update={**kept, "truncated": result.truncated or cut})

    def time_left(self) -> float:
        """Seconds until the job's limit."""
        return self.deadline - monotonic()


async def _stoppable(run: Callable[[asyncio.Event], Awaitable[ExecResult]]) -> ExecResult:
    """Run a command. Cancelled, it is asked to end first, and what it came to is returned.

    Raises:
        CancelledError: It came to nothing within a bound.
    """
    stop = asyncio.Event()
    running = asyncio.ensure_future(run(stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        try:
            await shielded(asyncio.wait({running}, timeout=_STOP_TIMEOUT_S))
        finally:
            running.cancel()
            await shielded(asyncio.wait({running}))
        if running.cancelled() or running.exception() is not None:
            raise
        return running.result()


def _is_free(planned: PlannedStep, later: list[tuple[int, PlannedStep]]) -> bool:
    """Whether a step needs none of those that have not run, and no install is among them."""
    return not any(
        other.install or describe_step(other.step) in planned.depends_on for _, other in later
    )
