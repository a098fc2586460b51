"""Bounds the bytes of projects in Redis, of each tenant and of all together.

A project counts from its reservation until a minute after its last job ended.
"""

from revalid.jobs.errors import RETRY_AFTER_S, StoreFull
from revalid.jobs.ledger.ledger import Ledger


def reserve(
    ledger: Ledger, tenant: str, digest: str, size: int, *, most: int, job_id: str | None = None
) -> None:
    """Reserve room for a project before it is stored.

    A reservation lasts ten minutes, or as long as a job needs the project.

    Args:
        size: Bytes of the project's tarball.
        most: Most bytes of all projects of the tenant together.
        job_id: The job that needs the project, for the error.

    Raises:
        StoreFull: There is no room now; nothing is reserved.
    """
    answer, used, bound = ledger.run("reserve", tenant, digest, size, most)
    if answer == "TENANT":
        raise StoreFull(
            f"project {digest[:12]} of {size} bytes: tenant {tenant} has {used} bytes in Redis "
            f"and REVALID_TENANT_BLOB_BYTES allows {bound}: submit it again when jobs are done",
            job_id=job_id,
            retry_after_s=RETRY_AFTER_S,
        )
    if answer == "ALL":
        raise StoreFull(
            f"project {digest[:12]} of {size} bytes: projects take {used} bytes of Redis, and "
            f"half of its maxmemory, {bound}, is allowed: submit it again when some jobs are done, "
            "or raise maxmemory",
            job_id=job_id,
            retry_after_s=RETRY_AFTER_S,
        )
