"""Reuses the result of an earlier run if its image is unchanged."""

from asyncio import to_thread

from pydantic import ValidationError
from redis import RedisError

from revalid.jobs.errors import RevalidError
from revalid.jobs.job import Job, SandboxPolicy
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.result import JobResult
from revalid.jobs.settings import Settings
from revalid.worker.sandboxes.dagger.engine import Engine


async def reusable_result(
    prior: str | None, job: Job, settings: Settings, ledger: Ledger, engine: Engine
) -> JobResult | None:
    """Return the earlier result, marked as reused, if the job's tag still names its image.

    If that is not so, or not known, return None: the job must run.
    """
    if prior is None or SandboxPolicy.LOCAL in (job.sandbox, settings.sandbox_policy):
        return None
    try:
        result = JobResult.model_validate_json(prior)
        # If many jobs were queued together, the first one has asked the registry for all.
        digest = await to_thread(ledger.image_digest, result.image)
        digest = digest or (await engine.pin(result.image, again=True)).partition("@")[2]
    except (ValidationError, RevalidError, RedisError):
        return None
    if digest != result.sandbox.image_digest:
        return None
    return result.model_copy(update={"reused": True})
