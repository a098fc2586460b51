"""One attempt at a job, from its project to its steps' results."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from jobs.blobs import BlobStore
from jobs.errors import BrokerUnavailable, InvalidProject, SandboxLost
from jobs.job import Job, LimitName
from jobs.result import (
    ArtifactsReport,
    Enforcement,
    SandboxReport,
    SourceReport,
    StepResult,
    StrategyReport,
    Verdict,
)
from jobs.settings import Settings
from jobs.steps import Exec, RefreshFromHost
from worker.artifacts import collect
from worker.engine import Engine
from worker.limits import CommandLimits, enforcement
from worker.opening import EngineMissing, check_policy, open_sandbox
from worker.outcome import command_result, file_result
from worker.output import LIVE_BYTES, Emit, LiveOutput
from worker.plan import Plan, PlannedStep, make_plan
from worker.progress import finished_event, plan_event, skipped_result, started_event
from worker.project import Project, allowed_host_path, fetch_project
from worker.sandbox import Sandbox, StepFailed
from worker.secrets import Scrubber, resolve_secrets
from worker.steps import apply_step, describe_step
from worker.tools import tool_versions
from worker.tracing import step_span, tell_step

SANDBOX_TRIES = 3
FETCH_TRIES = 10
TOTAL_OUTPUT_BYTES = 8 * 2**20
LIMIT_MARGIN_S = 45.0
_MIN_OUTPUT_BYTES = 1_024


@dataclass
class Run:
    """What one attempt found; filled while it runs, so that a cancelled one still reports.

    Args:
        scratch: A private directory that the caller removes.
        kept: Where what the job's artifacts are is stored.
        artifacts: Where ``export_directory`` steps write; made when first used.
        emit: Takes events.
        engine_missing: As :func:`worker.opening.open_sandbox` takes it.
    """

    job: Job
    settings: Settings
    environ: Mapping[str, str]
    engine: Engine
    blobs: BlobStore
    kept: BlobStore
    scratch: Path
    artifacts: Path
    emit: Emit
    engine_missing: EngineMissing

    sandbox: SandboxReport = field(default_factory=SandboxReport)
    enforcement: dict[LimitName, Enforcement] = field(default_factory=dict)
    source: SourceReport = field(default_factory=SourceReport)
    strategy: StrategyReport | None = None
    tools: dict[str, str] = field(default_factory=dict)
    kept_artifacts: ArtifactsReport | None = None
    notes: list[str] = field(default_factory=list)
    steps: list[StepResult] = field(default_factory=list)
    scrubber: Scrubber = field(default_factory=lambda: Scrubber(()))
    _secrets: dict[str, str] = field(default_factory=dict)
    _live_budget: list[int] = field(default_factory=lambda: [LIVE_BYTES])
    _output_left: int = TOTAL_OUTPUT_BYTES
    _deadline: float = 0.0
    _restored: tuple[str, ...] | None = ()
    _limits: CommandLimits = field(default_factory=CommandLimits)
    _checked: bool = False

    async def execute(self) -> Verdict:
        """Run the job's steps.

        Raises:
            PermanentError: The job asks for what cannot or may not be done: ``rejected``.
            TransientError: Our side failed, also when tried again: ``errored``.
        """
        limit_s = self.job.limits.job_timeout_s
        self._deadline = monotonic() + limit_s
        self._check_policy()
        try:
            # Commands end at the limit by themselves, and keep what they printed.
            async with asyncio.timeout(limit_s + LIMIT_MARGIN_S) as bound:
                project = await self._fetch()
                plan = make_plan(self.job, project.root)
                self.strategy = StrategyReport(name=plan.strategy, reason=plan.reason)
                return await self._try(plan, project)
        except TimeoutError:
            if not bound.expired():
                raise
            reached = f"the job's limit of {limit_s:g} s was reached"
            if self.sandbox.kind is None:
                raise SandboxLost(f"{reached} before its sandbox was open: try again") from None
            self.notes.append(f"{reached} while files were on their way")
            return Verdict.TIMED_OUT

    async def _try(self, plan: Plan, project: Project) -> Verdict:
        for tries_left in reversed(range(SANDBOX_TRIES)):
            try:
                return await self._replay(plan, project)
            except SandboxLost:
                if not tries_left:
                    raise
                await asyncio.sleep(2.0 ** (SANDBOX_TRIES - tries_left - 1))
        raise AssertionError("unreachable")

    def _check_policy(self) -> None:
        check_policy(self.job, self.settings)
        self._secrets = resolve_secrets(self.job, self.settings, self.environ)
        self.scrubber = Scrubber(self._secrets.values())
        for step in self.job.steps:
            if isinstance(step, RefreshFromHost):
                allowed_host_path(step.host_path, self.settings.source_roots, "refresh_from_host")

    async def _fetch(self) -> Project:
        wanted = (self.job.source, self.blobs, self.settings, self.scratch)
        for tries_left in reversed(range(FETCH_TRIES)):
            try:
                project = await asyncio.to_thread(fetch_project, *wanted)
                break
            except BrokerUnavailable:
                if not tries_left:
                    raise
                await asyncio.sleep(2)
        self.source = project.report
        if project.note:
            self.notes.append(project.note)
        return project

    async def _replay(self, plan: Plan, project: Project) -> Verdict:
        self.steps.clear()
        self._restored = ()
        sandbox, self.sandbox = await open_sandbox(
            self.job, self.settings, self.environ, self.engine, self.scratch, self.engine_missing
        )
        try:
            limits, kind = self.job.limits, sandbox.kind
            self.enforcement = enforcement(limits, kind, sandbox.enforced)
            self._limits = CommandLimits.of(limits)
            self.emit("sandbox", {**self.sandbox.model_dump(), "image": self.job.image})
            self.emit("plan", plan_event(plan))
            self.scrubber = Scrubber(self._secrets.values(), root=sandbox.host_root)
            sandbox.with_envs(self.job.env)
            for name, value in self._secrets.items():
                sandbox.with_secret(name, value)
            for index, planned in enumerate(plan.steps):
                if planned.inputs != ():  # a setup step, which sees no file, may provide some
                    await self._note_tools(sandbox, plan)
                await self._take(index, planned, sandbox, project)
            self.notes.extend(note for note in plan.notes if note not in self.notes)
            await self._collect(sandbox)
            return self._verdict()
        finally:
            await sandbox.close()

    async def _collect(self, sandbox: Sandbox) -> None:
        kept = await collect(
            sandbox,
            self.job.artifacts,
            self.artifacts,
            self.kept,
            self.scratch,
            self.settings.artifact_bytes,
        )
        self.kept_artifacts = kept.report
        self.notes.extend(kept.notes)

    async def _note_tools(self, sandbox: Sandbox, plan: Plan) -> None:
        if self.tools or not plan.tools:
            return
        self.tools.update(await tool_versions(sandbox, plan.tools, self.scrubber))

    async def _take(
        self, index: int, planned: PlannedStep, sandbox: Sandbox, project: Project
    ) -> None:
        step = planned.step
        name = describe_step(step)
        skipped = self._why_not(planned)
        if skipped is None:
            optional = isinstance(step, Exec) and step.allow_failure
            self._checked |= not (planned.install or optional)
            self.emit("step_started", started_event(index, step))
            with step_span(self.scrubber.text(name), step.op) as span:
                try:
                    await self._restore(planned, sandbox, project)
                    result = await self._apply(index, name, planned, sandbox)
                except asyncio.CancelledError:
                    self.steps.append(skipped_result(planned, "ended while it ran"))
                    raise
                tell_step(span, result)
        else:
            result = skipped_result(planned, skipped)
        self.steps.append(result)
        self.emit("step_finished", finished_event(index, result))

    def _why_not(self, planned: PlannedStep) -> str | None:
        if planned.skipped_reason is not None:
            return planned.skipped_reason
        done = {step.name: step for step in self.steps}
        for need in planned.needs:
            if need in done and not done[need].clean:
                return f"{need} did not succeed"
        if self._time_left() <= 0:
            return f"the job's limit of {self.job.limits.job_timeout_s:g} s was reached"
        return None

    async def _restore(self, planned: PlannedStep, sandbox: Sandbox, project: Project) -> None:
        """Upload what the step may see and is not there yet."""
        if self._restored is None or self.job.source is None:
            return
        if planned.inputs is None:
            await sandbox.refresh_from_host(project.root, "/workspace")
            self._restored = None
        elif missing := tuple(sorted(set(planned.inputs) - set(self._restored))):
            await sandbox.refresh_from_host(project.root, "/workspace", only=missing)
            self._restored = (*self._restored, *missing)

    async def _apply(
        self, index: int, name: str, planned: PlannedStep, sandbox: Sandbox
    ) -> StepResult:
        step = planned.step
        started = monotonic()
        own = step.timeout_s if isinstance(step, Exec) else None
        limit = max(0.1, min(own or self.job.limits.command_timeout_s, self._time_left()))
        if not isinstance(step, Exec):
            artifact = self.artifacts / str(index)
            try:
                async with asyncio.timeout(limit) as bound:
                    said = await apply_step(step, sandbox, self.settings, artifact)
            except StepFailed as error:
                return self._file_result(name, planned, 1, "", str(error), started)
            except TimeoutError:
                if not bound.expired():
                    raise
                failed = f"{step.op}: not done within {limit:g} s; name less, or raise the limit"
                result = self._file_result(name, planned, 1, "", failed, started)
                return result.model_copy(update={"timed_out": True})
            return self._file_result(name, planned, 0, said, "", started)
        live = LiveOutput(self.emit, index, self.scrubber, self._live_budget)
        try:
            ran = await sandbox.exec(
                step.command,
                timeout_s=limit,
                output_bytes=self._output_cap(),
                limits=self._limits,
                reuse=planned.reuse,
                on_output=live.feed,
            )
        except StepFailed as error:  # the project removed its workdir, or the line is too long
            return self._file_result(name, planned, 1, "", str(error), started)
        live.finish()
        for stream in (ran.stdout, ran.stderr):
            self._output_left -= len(stream.head) + len(stream.tail)
        return command_result(name, step, ran, self.scrubber, self._limits)

    def _file_result(
        self, name: str, planned: PlannedStep, code: int, said: str, failed: str, started: float
    ) -> StepResult:
        cap = self._output_cap()
        said, failed = self.scrubber.text(said), self.scrubber.text(failed)
        self._output_left -= min(len(said), cap)
        return file_result(name, planned.step, code, said, failed, cap, started)

    def _output_cap(self) -> int:
        """Later steps keep less where earlier ones filled the job's whole allowance."""
        return max(_MIN_OUTPUT_BYTES, min(self.job.limits.output_bytes, self._output_left // 4))

    def _time_left(self) -> float:
        return self._deadline - monotonic()

    def _verdict(self) -> Verdict:
        failed = [step for step in self.steps if not step.ok]
        if any(not step.timed_out for step in failed):
            return Verdict.FAILED
        if failed or self._time_left() <= 0:
            return Verdict.TIMED_OUT
        if not self._checked:
            raise InvalidProject(
                "nothing was checked: the project has no build, type check or tests; "
                "name what proves it with --command"
            )
        return Verdict.PASSED
