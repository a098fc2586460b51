"""Runs one attempt at a job, from its project to its steps' results."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from revalid.jobs.errors import (
    BrokerUnavailable,
    InstallErrored,
    InvalidProject,
    SandboxLost,
    ToolMissing,
)
from revalid.jobs.images import load_images
from revalid.jobs.job import Job, LimitName
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.result import (
    ArtifactsReport,
    Enforcement,
    OverlayReport,
    Proven,
    SandboxReport,
    SourceReport,
    StepResult,
    StepStatus,
    StrategyReport,
    Unproven,
    Verdict,
)
from revalid.jobs.services import ServiceReport
from revalid.jobs.settings import Settings
from revalid.jobs.steps import RefreshFromHost
from revalid.worker.file_trees import remove_tree
from revalid.worker.run.artifacts import collect
from revalid.worker.run.failure_notes import failure_notes, pointer_notes, scripts_with_crlf
from revalid.worker.run.missing_tools import ADD_TOOL_HINT
from revalid.worker.run.output import Emit
from revalid.worker.run.overlay import Overlay, fetch_overlay, lay_over_project
from revalid.worker.run.project import Project, allowed_host_path, fetch_project
from revalid.worker.run.proof import missing_tests, proven, unproven
from revalid.worker.run.replay import Replay
from revalid.worker.run.step_events import plan_event
from revalid.worker.run.tool_versions import tool_versions
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.factory import EngineMissing, check_policy, open_sandbox
from revalid.worker.sandboxes.limits import CommandLimits, enforcement
from revalid.worker.sandboxes.protocol import Sandbox
from revalid.worker.secrets import Scrubber, passwords, resolve_secrets
from revalid.worker.strategies.dispatch import Plan, make_plan
from revalid.worker.strategies.project_tree import ProjectTree

SANDBOX_TRIES = 3
FETCH_TRIES = 10
_NOTED_FILES = 20_000
"""Files of a project that are looked at for notes about a failed step."""
LIMIT_MARGIN_S = 45.0


@dataclass
class Run:
    """One attempt at a job; filled while it runs, so that a cancelled attempt still has results.

    Args:
        scratch: A private directory that the caller removes.
        kept: The store of artifacts.
        artifacts: The directory of ``export_directory`` steps; created when first used.
        emit: Takes events.
        engine_missing: As :func:`revalid.worker.sandboxes.factory.open_sandbox` takes it.
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
    overlay: Overlay | None = None
    strategy: StrategyReport | None = None
    replay: Replay | None = None
    kept_artifacts: ArtifactsReport | None = None
    notes: list[str] = field(default_factory=list)
    scrubber: Scrubber = field(default_factory=lambda: Scrubber(()))
    _secrets: dict[str, str] = field(default_factory=dict)
    _secret_values: list[str] = field(default_factory=list)
    _deadline: float = 0.0

    @property
    def steps(self) -> tuple[StepResult, ...]:
        """The results of the steps that ended, in the plan's order."""
        return self.replay.results if self.replay else ()

    @property
    def proven(self) -> tuple[Proven, ...]:
        """What the steps proved."""
        return proven(self.steps)

    @property
    def unproven(self) -> tuple[Unproven, ...]:
        """What they did not prove."""
        return unproven(self.job, self.replay.plan, self.replay.finished) if self.replay else ()

    @property
    def services(self) -> tuple[ServiceReport, ...]:
        """The services that steps used."""
        if self.replay is None:
            return ()
        container = self.sandbox.kind == "dagger"
        needed = {
            service: ServiceReport(
                kind=service.kind,
                name=service.name,
                image=service.image if container else None,
                env=tuple(service.environment()) if container else (),
                port=service.facts.port if container else None,
                ready_s=self.replay.services_ready.get(service.name),
                reason=service.reason,
            )
            for index in self.replay.finished
            for service in self.replay.plan.steps[index].services
        }
        return tuple(needed.values())

    @property
    def overlay_report(self) -> OverlayReport | None:
        """The trusted files; None if the job has none."""
        return self.overlay.report if self.overlay else None

    @property
    def tools(self) -> dict[str, str]:
        """The version of each tool, by name."""
        return self.replay.tools if self.replay else {}

    async def execute(self) -> Verdict:
        """Run the job's steps.

        Raises:
            PermanentError: The job asks for something impossible or forbidden: ``rejected``.
            TransientError: Our side failed, also after retries: ``errored``.
        """
        limit_s = self.job.limits.job_timeout_s
        self._deadline = monotonic() + limit_s
        self._check_policy()
        try:
            # Commands end at the limit by themselves and keep their output.
            async with asyncio.timeout(limit_s + LIMIT_MARGIN_S) as bound:
                project = await self._fetch()
                images = load_images(self.settings.images)
                plan = await asyncio.to_thread(
                    make_plan,
                    self.job,
                    project.root,
                    None,
                    images,
                    overlay=self.overlay.root if self.overlay else None,
                    forwarded=tuple(self._secrets),
                )
                self.strategy = StrategyReport(name=plan.strategy, reason=plan.reason)
                job = plan.job or self.job
                self.job = job.model_copy(update={"image": plan.image or job.image})
                return await self._replay_with_retries(plan, project)
        except TimeoutError:
            if not bound.expired():
                raise
            reached = f"the job's limit of {limit_s:g} s was reached"
            if self.sandbox.kind is None:
                raise SandboxLost(f"{reached} before its sandbox was open: try again") from None
            self.notes.append(f"{reached} during a transfer of files")
            return Verdict.TIMED_OUT

    async def _replay_with_retries(self, plan: Plan, project: Project) -> Verdict:
        for remaining in reversed(range(SANDBOX_TRIES)):
            try:
                return await self._replay(plan, project)
            except SandboxLost:
                if not remaining:
                    raise
                with suppress(OSError):
                    await asyncio.to_thread(remove_tree, self.artifacts)
                await asyncio.sleep(2.0 ** (SANDBOX_TRIES - remaining - 1))
        raise AssertionError("unreachable")

    def _check_policy(self) -> None:
        check_policy(self.job, self.settings)
        self._secrets = resolve_secrets(self.job, self.settings, self.environ)
        self._secret_values = [*self._secrets.values(), *passwords(self.settings, self.environ)]
        self.scrubber = Scrubber(self._secret_values)
        for step in self.job.steps:
            if isinstance(step, RefreshFromHost):
                allowed_host_path(step.host_path, self.settings.source_roots, "refresh_from_host")

    async def _fetch(self) -> Project:
        arguments = (self.job.source, self.blobs, self.settings, self.scratch)
        for remaining in reversed(range(FETCH_TRIES)):
            try:
                project = await asyncio.to_thread(fetch_project, *arguments)
                if self.job.overlay is not None:
                    self.overlay = await asyncio.to_thread(
                        fetch_overlay, self.job.overlay, *arguments[1:]
                    )
                    await asyncio.to_thread(lay_over_project, self.overlay, project.root)
                break
            except BrokerUnavailable:
                if not remaining:
                    raise
                await asyncio.sleep(2)
        self.source = project.report
        return project

    async def _replay(self, plan: Plan, project: Project) -> Verdict:
        self.replay = None
        sandbox, self.sandbox = await open_sandbox(
            self.job, self.settings, self.environ, self.engine, self.scratch, self.engine_missing
        )
        try:
            limits = self.job.limits
            self.enforcement = enforcement(limits, sandbox.kind, sandbox.enforced)
            report = self.sandbox.model_dump(exclude={"toolchain"})
            self.emit("sandbox", {**report, "image": self.job.image})
            self.emit("plan", plan_event(plan))
            passwords = {s.password for planned in plan.steps for s in planned.services}
            self.scrubber = Scrubber(
                [*self._secret_values, *sorted(passwords)], root=sandbox.host_root
            )
            sandbox.with_envs(self.job.env)
            for name, value in self._secrets.items():
                sandbox.with_secret(name, value)
            await self._check_matrix(sandbox)
            self.replay = Replay(
                job=self.job,
                settings=self.settings,
                plan=plan,
                project=project,
                overlay=self.overlay.root if self.overlay else None,
                sandbox=sandbox,
                artifacts=self.artifacts,
                scrubber=self.scrubber,
                limits=CommandLimits.of(limits),
                deadline=self._deadline,
                emit=self.emit,
            )
            self._add_notes(plan.notes)
            await self.replay.run()
            self._add_notes(self.replay.notes)
            self._add_notes(await asyncio.to_thread(self._failure_notes, project))
            await self._collect(sandbox)
            return self._verdict(self.replay)
        finally:
            await sandbox.close()

    async def _check_matrix(self, sandbox: Sandbox) -> None:
        """Check that the sandbox has what the job's entry of the matrix names.

        Raises:
            ToolMissing: It has another version, or its image cannot be chosen.
        """
        for axis, value in self.job.matrix.items():
            if axis == "image":
                found = "no images" if sandbox.kind == "local" else None
            else:
                tool = {"node": "node", "python": "python3"}[axis]
                versions = await tool_versions(sandbox, (tool,), self.scrubber)
                version = versions.get(tool, "not found").removeprefix("v")
                found = None if f"{version}.".startswith(f"{value}.") else f"{axis} {version}"
            if found is not None:
                raise ToolMissing(
                    f"the sandbox has {found}, and the matrix asks for {axis} {value}: run it with "
                    "--sandbox dagger"
                )

    def _failure_notes(self, project: Project) -> list[str]:
        if all(step.ok for step in self.steps):
            return []
        try:
            names = sorted(ProjectTree(project.root).files)[:_NOTED_FILES]
        except InvalidProject:  # a step without a jail removed it
            names = []
        crlf = list(scripts_with_crlf(project.root, names))
        pointers = list(pointer_notes(project.root, names))
        return [*failure_notes(self.steps, self.source.left_out, crlf), *pointers]

    def _add_notes(self, notes: Iterable[str]) -> None:
        """Add each note once: a plan that starts again repeats its notes."""
        self.notes.extend(note for note in notes if note not in self.notes)

    async def _collect(self, sandbox: Sandbox) -> None:
        collection = await collect(
            sandbox,
            self.job.artifacts,
            self.artifacts,
            self.kept,
            self.scratch,
            self.settings.artifact_bytes,
        )
        self.kept_artifacts = collection.report
        self.notes.extend(collection.notes)

    def _verdict(self, replay: Replay) -> Verdict:
        failed = [step for step in self.steps if not step.ok]
        errored = [step for step in failed if step.status is StepStatus.ERRORED]
        if any(not step.timed_out and step not in errored for step in failed):
            return Verdict.FAILED
        if errored:
            raise InstallErrored(
                f"{errored[0].name}: {errored[0].fault}; the project is not to blame: submit it "
                "again when registry, network and machine work"
            )
        if failed or replay.time_left() <= 0:
            return Verdict.TIMED_OUT
        shortfall = missing_tests(self.job, replay.plan, replay.finished)
        if shortfall is not None and shortfall.is_certain:
            return Verdict.FAILED
        deciding = [missing for missing in self.unproven if missing.decides]
        ran_none = {step.name for step in self.steps if step.status is StepStatus.NO_TESTS}
        if not replay.checked and replay.missing_tools:
            tools = ", ".join(sorted(replay.missing_tools))
            raise ToolMissing(
                f"the sandbox has no {tools}, without which nothing could be checked: "
                f"{ADD_TOOL_HINT}"
            )
        if not replay.checked and all(missing.step in ran_none for missing in deciding):
            raise InvalidProject(
                "nothing was checked: the project has no build, no type check and no test that "
                "runs; name a check with --command"
            )
        return Verdict.INCOMPLETE if deciding else Verdict.PASSED
