"""Replays the steps of one plan in a sandbox and in forks of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic

from revalid.jobs.checks import CheckName
from revalid.jobs.encoding import encodable
from revalid.jobs.job import Job, LimitName
from revalid.jobs.result import StepResult, StepStatus, TestReport
from revalid.jobs.settings import Settings
from revalid.jobs.steps import Exec
from revalid.worker.run.file_steps import apply_step, describe_step
from revalid.worker.run.flaky import MAX_AGAIN, again_command, judged_again, names_of_failed
from revalid.worker.run.install_faults import is_install
from revalid.worker.run.install_tries import InstallTries
from revalid.worker.run.missing_tools import missing_tool
from revalid.worker.run.output import Emit, LiveOutput
from revalid.worker.run.output_budget import OutputBudget
from revalid.worker.run.project import Project
from revalid.worker.run.rendering import Rendering
from revalid.worker.run.session import Session, check_bash
from revalid.worker.run.step_events import (
    cancelled_result,
    finished_event,
    skipped_result,
    started_event,
)
from revalid.worker.run.step_results import command_result, file_result, start_report, start_unknown
from revalid.worker.run.test_counts import count_tests
from revalid.worker.run.tool_versions import tool_versions
from revalid.worker.sandboxes.limits import LIVE_BYTES, CommandLimits
from revalid.worker.sandboxes.protocol import (
    CANCEL_GRACE_S,
    OWN_REPORT,
    ExecResult,
    Sandbox,
    StepFailed,
    Stream,
)
from revalid.worker.sandboxes.shielding import shielded
from revalid.worker.secrets import Scrubber
from revalid.worker.serving import Probe, Visit
from revalid.worker.strategies.dispatch import Plan, PlannedStep
from revalid.worker.tracing import record_step, step_span

_AGAIN_S = 300.0
"""Seconds for the second run of failed tests."""
_UNUSUAL = 126
"""Lowest exit code of a command that could not run or was ended."""
_PROBE_S = 30.0
_TELL_TESTS = (CheckName.TESTS, CheckName.COMMAND)
"""Checks whose tests are counted."""
MAX_PARALLEL = max(2, min(4, os.cpu_count() or 1))
"""Steps of one job that run at one time."""
_STOP_TIMEOUT_S = CANCEL_GRACE_S + 3.0
"""Seconds within which a command that was asked to stop must end and report."""


@dataclass
class Replay:
    """The replay of one plan; filled while it runs, so that a cancelled replay still has results.

    Args:
        overlay: The directory of the trusted files; None if the job has none.
        artifacts: The directory of ``export_directory`` steps; created when first used.
        deadline: The end of the job's time, by the monotonic clock.
        emit: Takes events.

    Attributes:
        finished: The results of the steps that ended, by their index in the plan.
        tools: The version of each tool, by name.
        notes: Sentences for the reader of the result.
        missing_tools: Tools of the strategy that the sandbox lacks.
        services_ready: Seconds until each service was ready at its slowest start, by its name.
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
    overlay: Path | None = None

    finished: dict[int, StepResult] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missing_tools: set[str] = field(default_factory=set)
    services_ready: dict[str, float] = field(default_factory=dict)
    _sequence_done: asyncio.Event = field(default_factory=asyncio.Event)
    _live_budget: list[int] = field(default_factory=lambda: [LIVE_BYTES])
    _output: OutputBudget = field(init=False)
    _uploaded: tuple[str, ...] | None = ()
    _session: Session | None = None
    _broken: str = ""
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PARALLEL))

    def __post_init__(self) -> None:
        self._output = OutputBudget(len(self.plan.steps), self.job.limits.output_bytes)

    @property
    def results(self) -> tuple[StepResult, ...]:
        """The results of the steps that ended, in the plan's order."""
        return tuple(self.finished[index] for index in sorted(self.finished))

    @property
    def checked(self) -> bool:
        """Whether a step passed that decides on the verdict."""
        return any(
            step.status is StepStatus.PASSED and not step.allow_failure
            for index, step in self.finished.items()
            if not self.plan.steps[index].install
        )

    async def run(self) -> None:
        """Run every step: parallel steps in forks, the others in sequence in the sandbox.

        A parallel step starts from the files that the installs and its dependencies left. If it
        fails, it runs again on the files of the whole sequence: some checks use the files of a
        build that their project does not declare.

        Raises:
            JobError: As the sandbox raises it.
        """
        if self.job.session:
            await check_bash(self.sandbox)
            self._session = Session()
        steps = list(enumerate(self.plan.steps))
        # Artifacts are collected from one sandbox.
        forks = self.sandbox.forks_freely and not self.job.artifacts
        sequence = [(index, step) for index, step in steps if not (forks and step.parallel)]
        waiting = [(index, step) for index, step in steps if forks and step.parallel]
        try:
            async with asyncio.TaskGroup() as tasks, self._slots:
                for place in range(len(sequence) + 1):
                    later = sequence[place:]
                    ready = [(i, step) for i, step in waiting if _can_start(step, later)]
                    for index, planned in ready:
                        waiting.remove((index, planned))
                        try:
                            await self._upload_inputs(planned)
                        except StepFailed as error:
                            self._finish(index, self._failed_result(planned, error, monotonic()))
                            continue
                        fork = await self.sandbox.fork()
                        tasks.create_task(self._run_parallel(index, planned, fork, later))
                    if later:
                        await self._run_in_sequence(*later[0])
                await self._record_tools()
                self._sequence_done.set()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _run_parallel(
        self, index: int, planned: PlannedStep, fork: Sandbox, later: list[tuple[int, PlannedStep]]
    ) -> None:
        first_result = self.finished[index] = await self._in_fork(index, planned, fork)
        tests = first_result.tests
        flaky_alone = tests is not None and tests.flaky and not tests.failed
        failed = first_result.status is StepStatus.FAILED and not first_result.tampered
        failed = failed and not flaky_alone
        if failed and not first_result.allow_failure:
            await self._sequence_done.wait()
            ended = (self.finished[other] for other, _ in later)
            if succeeded := [step.name for step in ended if step.status is StepStatus.PASSED]:
                second_result = await self._in_fork(index, planned, await self.sandbox.fork())
                if second_result.skipped_reason is None:  # the job had time left
                    self.finished[index] = second_result
                if second_result.status is StepStatus.PASSED:
                    self.notes.append(
                        f"{second_result.name} passes only after {', '.join(succeeded)}"
                    )
        self._finish(index, self.finished[index])

    async def _in_fork(self, index: int, planned: PlannedStep, fork: Sandbox) -> StepResult:
        try:
            async with self._slots:
                return await self._run_step(index, planned, fork)
        finally:
            await fork.close()

    async def _run_in_sequence(self, index: int, planned: PlannedStep) -> None:
        if planned.inputs != ():  # a setup step may still install tools
            await self._record_tools()
        self._finish(index, await self._run_step(index, planned, self.sandbox))

    def _finish(self, index: int, result: StepResult) -> None:
        self.finished[index] = result
        self.emit("step_finished", finished_event(index, result))

    async def _record_tools(self) -> None:
        if self.plan.tools and not self.tools:
            self.tools.update(await tool_versions(self.sandbox, self.plan.tools, self.scrubber))

    async def _run_step(self, index: int, planned: PlannedStep, sandbox: Sandbox) -> StepResult:
        step = planned.step
        name = describe_step(step)
        if (reason := self._skip_reason(planned)) is not None:
            return skipped_result(planned, reason)
        self.emit("step_started", started_event(index, step))
        started = monotonic()
        with step_span(self.scrubber.text(name), step.op) as span:
            try:
                if sandbox is self.sandbox:
                    await self._upload_inputs(planned)
                result = await self._judge(index, name, planned, sandbox)
            except StepFailed as error:  # the project broke its workdir, or the command is too long
                result = self._failed_result(planned, error, started)
            except asyncio.CancelledError:
                self._finish(index, cancelled_result(planned, monotonic() - started))
                raise
            await self._probe_sandbox(result, sandbox)
            result = await self._without_tool(planned, result, sandbox)
            result = self._without_services(planned, result, sandbox)
            record_step(span, result)
        if result.cancelled:
            self._finish(index, result)
            raise asyncio.CancelledError
        return result

    async def _probe_sandbox(self, result: StepResult, sandbox: Sandbox) -> None:
        """Note where a step failed in a sandbox that runs no command any more."""
        failed = result.status is StepStatus.FAILED and (result.exit_code or 0) >= _UNUSUAL
        if not failed or sandbox is not self.sandbox or result.op != "exec":
            return
        try:
            works = (await sandbox.exec(":", timeout_s=_PROBE_S)).exit_code == 0
        except StepFailed:  # the project broke its workdir; the steps after this one report that
            return
        if not works:
            self._broken = f"at {result.name} the sandbox runs no command any more, not even ':'"
            self.notes.append(f"{self._broken}: this step, or one before it, broke it")

    async def _without_tool(
        self, planned: PlannedStep, result: StepResult, sandbox: Sandbox
    ) -> StepResult:
        """Return the result as skipped where the step failed and the sandbox lacks a tool."""
        if result.status is not StepStatus.FAILED or result.tampered:
            return result
        if planned.check is CheckName.COMMAND or not (planned.check or planned.install):
            return result
        called = (result.command or "").split() if planned.install else ()
        tool = await missing_tool(result, {*self.plan.tools, *called}, sandbox)
        if tool is None:
            return result
        self.missing_tools.add(tool)
        words = f"it failed without {tool}, which the sandbox lacks"
        return result.model_copy(update={"skipped_reason": words})

    def _without_services(
        self, planned: PlannedStep, result: StepResult, sandbox: Sandbox
    ) -> StepResult:
        """Return the result as skipped where it failed and the sandbox lacked a service."""
        if result.status is not StepStatus.FAILED or result.tampered:
            return result
        for service in planned.services:
            if reason := sandbox.missing_service(service.kind):
                words = f"it failed without {service.name} ({service.reason}); {reason}"
                return result.model_copy(update={"skipped_reason": words})
        return result

    def _skip_reason(self, planned: PlannedStep) -> str | None:
        if planned.skipped_reason is not None:
            return planned.skipped_reason
        if self._broken:
            return self._broken
        if planned.check in self.job.skip:
            return f"left out by --skip {planned.check}"
        if planned.dockerfile and not self.sandbox.builds_images:
            return "the local sandbox builds no images"
        if planned.dockerfile and {*self.job.limits.required} - {LimitName.TIME}:
            return "an image's build keeps no limit but the time, and the job requires others"
        by_name = {step.name: step for step in self.finished.values()}
        for dependency in planned.depends_on:
            needed = by_name.get(dependency)
            if needed is not None and needed.status is not StepStatus.PASSED:
                left_out = needed.check in self.job.skip
                how = f"was left out by --skip {needed.check}" if left_out else "did not succeed"
                return f"{dependency} {how}"
        if self.plan.stop_on_failure and (
            failed := next((s for s in by_name.values() if not s.ok), None)
        ):
            return f"{failed.name} did not succeed"
        if self.time_left() <= 0:
            return f"the job's limit of {self.job.limits.job_timeout_s:g} s was reached"
        return None

    async def _upload_inputs(self, planned: PlannedStep) -> None:
        """Upload the files that the step may see and that are not in the sandbox yet."""
        if self._uploaded is None or self.job.source is None:
            return
        if planned.inputs is None:
            await self.sandbox.refresh_from_host(self.project.root, "/workspace")
            self._uploaded = None
        elif missing := tuple(sorted(set(planned.inputs) - set(self._uploaded))):
            await self.sandbox.refresh_from_host(self.project.root, "/workspace", only=missing)
            self._uploaded = (*self._uploaded, *missing)

    async def _judge(
        self, index: int, name: str, planned: PlannedStep, sandbox: Sandbox
    ) -> StepResult:
        """Apply a step; if it is a check, with the overlay over the project."""
        if self.overlay is None or planned.check in (None, CheckName.INSTALL):
            return await self._apply(index, name, planned, sandbox)
        await sandbox.lay_overlay(self.overlay)
        result = await self._apply(index, name, planned, sandbox)
        if result.cancelled or not (changed := await sandbox.lift_overlay(self.overlay)):
            return result
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        words = f"tampered with: {changed[0]}{more} changed while it ran"
        return result.model_copy(update={"tampered": self.scrubber.text(encodable(words))})

    async def _apply(
        self, index: int, name: str, planned: PlannedStep, sandbox: Sandbox
    ) -> StepResult:
        step = planned.step
        if isinstance(step, Exec):
            return await self._run_command(index, name, planned, step, sandbox)
        started = monotonic()
        limit = self._within_limit(self.job.limits.command_timeout_s)
        artifact = self.artifacts / str(index)
        try:
            async with asyncio.timeout(limit) as bound:
                text = await apply_step(step, sandbox, self.settings, artifact)
            if self._session is not None:
                self._session.see(step)
        except TimeoutError:
            if not bound.expired():
                raise
            error = f"{step.op}: not done within {limit:g} s; name fewer files or raise the limit"
            result = self._file_result(name, planned, 1, "", error, started)
            return result.model_copy(update={"timed_out": True})
        return self._file_result(name, planned, 0, text, "", started)

    async def _run_command(
        self, index: int, name: str, planned: PlannedStep, step: Exec, sandbox: Sandbox
    ) -> StepResult:
        limit = self._within_limit(step.timeout_s or self.job.limits.command_timeout_s)
        run = partial(self._execute, index, planned, sandbox)
        probe, reporting = planned.probe, planned.test_run.reporting
        rendering = None
        if planned.dockerfile:
            exec_result = await sandbox.build_image(
                planned.dockerfile, timeout_s=limit, output_bytes=self._output.stream_cap
            )
        else:
            async with self._rendering(index, planned, sandbox) as rendering:
                visit = rendering.visit if rendering else None
                exec_result = await run(reporting or step.command, limit, probe, visit)
        result = command_result(name, step, exec_result, self.scrubber, self.limits)
        if reporting and _wrote_no_report(exec_result):
            tests, _ = await self._count(planned, result, exec_result)
            if tests is None or not tests.failed:  # its runner may not know the option
                exec_result = await run(step.command, self._within_limit(limit), probe)
                result = command_result(name, step, exec_result, self.scrubber, self.limits)
        if planned.install or is_install(step.command):
            uncached = partial(self._execute, index, replace(planned, cacheable=False), sandbox)
            result = await self._retry_install(step, limit, result, uncached)
        tests = None
        if planned.check in _TELL_TESTS:
            tests, disagreement = await self._count(planned, result, exec_result)
            self.notes += [disagreement] if disagreement else []
        start = start_report(exec_result, probe, self.scrubber) if probe is not None else None
        unknown = start_unknown(exec_result)
        found = {
            "check": planned.check,
            "tests": tests,
            "start": start,
            "render": rendering.report if rendering else None,
            "skipped_reason": unknown,
        }
        result = result.model_copy(update=found)
        if result.status is StepStatus.PASSED and tests is None and planned.test_run.hides_failures:
            words = "its command exits with 0 even if tests fail, and no test could be counted"
            result = result.model_copy(update={"skipped_reason": words})
        return self._output.bounded(await self._run_failed_again(planned, result, run))

    async def _retry_install(
        self,
        step: Exec,
        limit: float,
        result: StepResult,
        run: Callable[[str, float], Awaitable[ExecResult]],
    ) -> StepResult:
        """Run an install again where our side failed it."""

        async def run_again(command: str, within_s: float) -> StepResult:
            ended = await run(command, self._within_limit(within_s))
            return command_result(result.name, step, ended, self.scrubber, self.limits)

        tries = InstallTries(step.command, limit, run_again, self.time_left)
        judged = await tries.judged(result)
        self.notes.extend(tries.notes)
        return judged

    async def _count(
        self, planned: PlannedStep, result: StepResult, exec_result: ExecResult
    ) -> tuple[TestReport | None, str | None]:
        """Count in a thread: the project decides how much there is to read."""
        runner = planned.test_run.runner
        return await asyncio.to_thread(
            count_tests, result, exec_result.reports, runner, self.scrubber
        )

    async def _execute(
        self,
        index: int,
        planned: PlannedStep,
        sandbox: Sandbox,
        command: str,
        limit: float,
        probe: Probe | None = None,
        visit: Visit | None = None,
    ) -> ExecResult:
        live = LiveOutput(self.emit, index, self.scrubber, self._live_budget)
        line = self._session.command(command) if self._session else command
        exec_result = await _stoppable(
            lambda stop: sandbox.exec(
                line,
                timeout_s=limit,
                output_bytes=self._output.stream_cap,
                limits=self.limits,
                cacheable=planned.cacheable,
                downloads=planned.install,
                services=[s for s in planned.services if not sandbox.missing_service(s.kind)],
                probe=probe,
                reports=planned.check in _TELL_TESTS,
                visit=visit,
                on_output=live.feed,
                stop=stop,
            )
        )
        live.finish()
        for name, ready_s in exec_result.services_ready.items():
            slowest = max(ready_s, self.services_ready.get(name, 0.0))
            self.services_ready[name] = round(slowest, 2)
        return exec_result

    @asynccontextmanager
    async def _rendering(
        self, index: int, planned: PlannedStep, sandbox: Sandbox
    ) -> AsyncIterator[Rendering | None]:
        """Open a browser for the server that a step starts; None if it starts none."""
        probe = planned.probe
        if probe is None or not probe.render or CheckName.RENDER in self.job.skip:
            yield None
            return
        async with Rendering(
            sandbox,
            self.artifacts,
            self.project.root.parent,
            self.scrubber,
            name=str(index),
            required=CheckName.RENDER in self.job.require,
        ) as rendering:
            yield rendering

    async def _run_failed_again(
        self,
        planned: PlannedStep,
        result: StepResult,
        run: Callable[[str, float], Awaitable[ExecResult]],
    ) -> StepResult:
        """Run the failed tests of a check again; those that pass then are flaky."""
        tests, step = result.tests, planned.step
        if (
            planned.check is not CheckName.TESTS
            or not isinstance(step, Exec)
            or result.status is not StepStatus.FAILED
            or tests is None
            or not tests.failed
            or self.time_left() <= 0
        ):
            return result
        runner = tests.runner or ""
        names = names_of_failed(tests, f"{result.stdout}\n{result.stderr}")
        if not names or len(names) > MAX_AGAIN or len(names) != tests.failed:
            return result
        command = again_command(planned.test_run.reporting or step.command, runner, names)
        if command is None:
            return result
        again = await run(command, self._within_limit(_AGAIN_S))
        if again.cancelled or again.timed_out:
            return result
        second = command_result(result.name, step, again, self.scrubber, self.limits)
        second_tests, _ = await self._count(planned, second, again)
        output = f"{second.stdout}\n{second.stderr}"
        judged = judged_again(result, names, second_tests, output)
        return judged.model_copy(update={"flaky_passes": self.job.flaky == "pass"})

    def _failed_result(self, planned: PlannedStep, error: StepFailed, started: float) -> StepResult:
        return self._file_result(describe_step(planned.step), planned, 1, "", str(error), started)

    def _file_result(
        self, name: str, planned: PlannedStep, code: int, text: str, error: str, started: float
    ) -> StepResult:
        data = text.encode()
        read = Stream(data[: self._output.stream_cap], b"", len(data))
        return self._output.bounded(
            file_result(name, planned.step, code, read, error, self.scrubber, started)
        )

    def _within_limit(self, seconds: float) -> float:
        """Return some seconds, or those until the job's limit if they are fewer."""
        return max(0.1, min(seconds, self.time_left()))

    def time_left(self) -> float:
        """Return the seconds until the job's limit."""
        return self.deadline - monotonic()


async def _stoppable(run: Callable[[asyncio.Event], Awaitable[ExecResult]]) -> ExecResult:
    """Run a command; on cancellation, ask it to stop and return its result.

    Raises:
        CancelledError: The command gave no result within :data:`_STOP_TIMEOUT_S`.
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


def _wrote_no_report(result: ExecResult) -> bool:
    """Return whether a command failed by itself and wrote no report of its own."""
    wrote = any(report.path.startswith(OWN_REPORT) for report in result.reports)
    ended = result.timed_out or result.cancelled or result.limit_exceeded
    return result.exit_code != 0 and not (wrote or ended)


def _can_start(planned: PlannedStep, later: list[tuple[int, PlannedStep]]) -> bool:
    """Return whether a step uses the files of no later step, and no later step is an install."""
    earlier = (*planned.depends_on, *planned.after)
    return not any(other.install or describe_step(other.step) in earlier for _, other in later)
