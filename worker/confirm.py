"""Whether the verdict of an earlier run still stands."""

from pydantic import ValidationError

from jobs.errors import JobError
from jobs.job import Job, SandboxPolicy
from jobs.result import JobResult
from jobs.settings import Settings
from worker.engine import Engine


async def confirm(
    prior: str | None, job: Job, settings: Settings, engine: Engine
) -> JobResult | None:
    """The earlier result, marked as reused, where the job's tag still names its image.

    None wherever that is not known: then the job is to be run.
    """
    if prior is None or SandboxPolicy.LOCAL in (job.sandbox, settings.sandbox_policy):
        return None
    try:
        result = JobResult.model_validate_json(prior)
        pinned = await engine.pin(job.image)
    except (ValidationError, JobError):
        return None
    if pinned.partition("@")[2] != result.sandbox.image_digest:
        return None
    return result.model_copy(update={"reused": True})
