"""Opens the sandbox that a job and the worker's policy ask for, and waits for an engine."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic

from revalid.jobs.errors import EngineUnavailable, PolicyRefused
from revalid.jobs.job import Job, SandboxPolicy
from revalid.jobs.result import SandboxReport
from revalid.jobs.settings import Settings
from revalid.worker.sandboxes.dagger.containers import ORDINARY, ROOT
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.dagger.sandbox import DaggerSandbox
from revalid.worker.sandboxes.local.bubblewrap import search_path
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.local.toolchain import toolchain
from revalid.worker.sandboxes.protocol import Sandbox
from revalid.worker.secrets import private_paths

_LONGEST_PAUSE_S = 5.0

EngineMissing = Callable[[], Awaitable[None]]
"""Called after each failed try; may raise so that another worker takes the job."""


def check_policy(job: Job, settings: Settings) -> None:
    """Check that this worker runs the sandbox that the job asks for.

    Raises:
        PolicyRefused: The worker's policy does not allow it.
    """
    allowed, requested = settings.sandbox_policy, job.sandbox
    if (
        requested is not None
        and SandboxPolicy.AUTO not in (requested, allowed)
        and requested != allowed
    ):
        raise PolicyRefused(
            f"--sandbox {requested}: this worker runs only {allowed} (its REVALID_SANDBOX)"
        )


async def open_sandbox(
    job: Job,
    settings: Settings,
    environ: Mapping[str, str],
    engine: Engine,
    scratch: Path,
    engine_missing: EngineMissing,
) -> tuple[Sandbox, SandboxReport]:
    """Open a fresh sandbox of the kind that the job and the worker's policy ask for.

    Returns:
        The sandbox, and its report with the reason for a fallback.

    Raises:
        EngineUnavailable: No engine answered within the job's ``engine_wait_s``.
        JobError: As :meth:`DaggerSandbox.open`.
    """
    policy = job.sandbox or settings.sandbox_policy
    if policy is SandboxPolicy.AUTO:
        policy = settings.sandbox_policy
    reason = None
    if policy is not SandboxPolicy.LOCAL:
        try:
            opened = await _open_container(
                job,
                settings,
                engine,
                scratch,
                engine_missing if policy is SandboxPolicy.DAGGER else None,
            )
            digest = opened.image.partition("@")[2]
            return opened, SandboxReport(kind="dagger", image_digest=digest)
        except EngineUnavailable as error:
            if policy is SandboxPolicy.DAGGER:
                raise
            reason = str(error)
    programs = await asyncio.to_thread(local_toolchain, settings, environ)
    local = LocalSandbox(
        scratch=scratch,
        protected=job.protected,
        hidden=private_paths(settings, environ),
        jailed=None if settings.bubblewrap else False,
        passthrough=_passthrough(settings, environ),
    )
    return local, SandboxReport(kind="local", fallback_reason=reason, toolchain=programs)


def local_toolchain(settings: Settings, environ: Mapping[str, str]) -> str:
    """Return the digest of the programs that a local sandbox of this worker would use."""
    return toolchain(search_path(_passthrough(settings, environ)))


def _passthrough(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    given = {name: environ[name] for name in settings.local_env if name in environ}
    toolchains = Path.home() / ".rustup"  # a command has a home of its own
    return {"RUSTUP_HOME": str(toolchains), **given} if toolchains.is_dir() else given


async def _open_container(
    job: Job,
    settings: Settings,
    engine: Engine,
    scratch: Path,
    engine_missing: EngineMissing | None,
) -> DaggerSandbox:
    started, pause = monotonic(), 0.5
    while True:
        try:
            if engine_missing is not None:
                await _connect(engine, max(1.0, job.engine_wait_s - (monotonic() - started)))
            image = await engine.pin(job.image)
            return await DaggerSandbox.open(
                engine,
                image,
                account=ROOT if job.user == "root" else ORDINARY,
                protected=job.protected,
                scratch=scratch,
                tenant=job.tenant,
                browser_image=settings.browser_image,
            )
        except EngineUnavailable as error:
            if engine_missing is None:
                raise
            await engine_missing()
            if monotonic() - started >= job.engine_wait_s:
                raise EngineUnavailable(
                    f"{error}; the job waited {job.engine_wait_s:g} s for an engine"
                ) from None
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


async def _connect(engine: Engine, within_s: float) -> None:
    """Connect to the engine within ``within_s`` seconds; pulling an image may take longer."""
    try:
        async with asyncio.timeout(within_s):
            await engine.client()
    except TimeoutError:
        raise EngineUnavailable(
            f"no Dagger engine answered within {within_s:.0f} s: start one, or allow "
            "--sandbox local; `revalid doctor` checks it"
        ) from None
