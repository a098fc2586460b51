"""Projects in Redis: what a tenant may hold of it, and all tenants together.

A project counts from before its bytes are stored until a minute after the end of its last job.
"""

from revalid.jobs.errors import RETRY_AFTER_S, StoreFull
from revalid.jobs.ledger.ledger import Ledger


def reserve(
    ledger: Ledger, tenant: str, digest: str, size: int, *, most: int, job_id: str | None = None
) -> None:
    """Reserve room for a project that is about to be stored; ten minutes, unless a job needs it.

    Args:
        most: Bytes that all projects of the tenant may have together.
        job_id: The job that needs it, for the error.

    Raises:
        StoreFull: There is no room now; nothing is reserved.
    """
    answer, used, bound = ledger.run("reserve", tenant, digest, size, most)
    if answer == "TENANT":
        raise StoreFull(
            f"project {digest[:12]} of {size} bytes: those of tenant {tenant} have {used} in Redis "
            f"and REVALID_TENANT_BLOB_BYTES allows {bound}: submit it again when some are done",
            job_id=job_id,
            retry_after_s=RETRY_AFTER_S,
        )
    if answer == "ALL":
        raise StoreFull(
            f"project {digest[:12]} of {size} bytes: projects have {used} bytes of Redis, of "
            f"{bound}, half of its maxmemory: submit it again when some are done, or raise that",
            job_id=job_id,
            retry_after_s=RETRY_AFTER_S,
        )
