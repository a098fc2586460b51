"""Reuses the result of an earlier run if what it rests on is unchanged: the image or the tools."""

from asyncio import to_thread
from collections.abc import Mapping

from pydantic import ValidationError
from redis import RedisError

from revalid.jobs.errors import RevalidError
from revalid.jobs.job import Job, SandboxPolicy
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.result import JobResult
from revalid.jobs.settings import Settings
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.factory import local_toolchain


async def reusable_result(
    prior: str | None,
    job: Job,
    settings: Settings,
    environ: Mapping[str, str],
    ledger: Ledger,
    engine: Engine,
) -> JobResult | None:
    """Return the earlier result, marked as reused, if its image or its tools are unchanged.

    In a container, the job's tag must still name the image. In the local sandbox, this worker must
    have the same programs. If that is not so, or not known, return None: the job must run.
    """
    if prior is None:
        return None
    try:
        result = JobResult.model_validate_json(prior)
    except ValidationError:
        return None
    runs_locally = SandboxPolicy.LOCAL in (job.sandbox, settings.sandbox_policy)
    if runs_locally != (result.sandbox.kind == "local"):
        return None
    if runs_locally:
        unchanged = result.sandbox.toolchain == await to_thread(local_toolchain, settings, environ)
    else:
        unchanged = await _names_the_image(result, ledger, engine)
    return result.model_copy(update={"reused": True}) if unchanged else None


async def _names_the_image(result: JobResult, ledger: Ledger, engine: Engine) -> bool:
    """Return whether the tag of a result still names its image."""
    try:
        # If many jobs were queued together, the first one has asked the registry for all.
        digest = await to_thread(ledger.image_digest, result.image)
        digest = digest or (await engine.pin(result.image, again=True)).partition("@")[2]
    except (RevalidError, RedisError):
        return False
    return digest == result.sandbox.image_digest
