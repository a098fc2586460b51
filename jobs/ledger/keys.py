"""The names of all keys that the project keeps in Redis, and their content.

Celery's own keys are not listed here. The scripts build the same names from their
prelude (``lua/prelude.lua``): a test compares the two.
"""

QUEUED_KEY = "revalid:queued"
"""Sorted set: ids of queued jobs, by the time when each was queued."""
RUNNING_KEY = "revalid:running"
"""Sorted set: ids of running jobs, by the end of their leases."""
DEAD_KEY = "revalid:dead"
"""Sorted set: ids of dead jobs, by the time when each died."""
HELD_KEY = "revalid:held"
"""Hash: the job that each process holds."""
QUEUES_KEY = "revalid:queues"
"""Set: queues in which jobs wait for their turn."""
PARKED_KEY = "revalid:parked"
"""Set: tenants that are parked in some queue."""
TURN_KEY = "revalid:turn"
"""Number of the last turn that was given."""
COUNTERS_KEY = "revalid:counters"
"""Hash: counters. Fields: ``finished LANE VERDICT``, ``waited LANE SECONDS`` (first claims, by the
upper bound of their wait), ``waited_ms LANE``, ``lost``, ``faults``, ``engine_lost``,
``messages_dropped`` and ``webhook OUTCOME``."""
FINISHED_KEY = "revalid:finished"
"""Stream: ids of finished jobs, for the archive."""
PROJECTS_KEY = "revalid:projects"
"""Sorted set: ``TENANT DIGEST`` of the projects in Redis, by the time of its next check."""
USAGE_KEY = "revalid:usage"
"""Hash: bytes of these projects by tenant; ``*`` has the sum."""
UNTOLD_KEY = "revalid:untold"
"""Set: done jobs, some of whose webhooks have no delivery yet."""
DELIVERIES_KEY = "revalid:deliveries"
"""Sorted set: deliveries of webhooks, by due time; infinite while a due one waits for its turn."""
POST_TURNS_KEY = "revalid:post-turns"
"""Sorted set: ``TENANT HOST`` pairs with due deliveries, by turn."""
POST_SHARES_KEY = "revalid:post-shares"
"""Hash: the next turn of each tenant; ``*`` has the last turn that was taken."""
WORKERS_KEY = "revalid:workers"
"""Hash: the last report of each worker, by its name."""
BATCHES_KEY = "revalid:batches"
"""Sorted set: ids of batches, by the time of creation."""


def job_key(job_id: str) -> str:
    """Hash: a job's record."""
    return f"revalid:job:{job_id}"


def events_key(job_id: str) -> str:
    """Stream: a job's events."""
    return f"revalid:events:{job_id}"


def asked_key(job_id: str) -> str:
    """Set: ``QUEUE RUN`` of each submitter of a job."""
    return f"revalid:asked:{job_id}"


def hooks_key(job_id: str) -> str:
    """Set: a job's webhooks."""
    return f"revalid:hooks:{job_id}"


def hook_key(delivery: str) -> str:
    """Hash: one delivery of a webhook."""
    return f"revalid:hook:{delivery}"


def ready_key(tenant_host: str) -> str:
    """Sorted set: deliveries of one tenant to one host that are due."""
    return f"revalid:ready:{tenant_host}"


def posts_key(host: str) -> str:
    """Sorted set: deliveries to a host that are under way, by the end of their leases."""
    return f"revalid:posts:{host}"


def posts_parked_key(host: str) -> str:
    """Sorted set: ``TENANT HOST`` pairs that wait while too many deliveries to it are under way."""
    return f"revalid:posts-parked:{host}"


def waiting_key(queue: str, tenant: str) -> str:
    """Sorted set: a tenant's jobs that wait in a queue, by turn."""
    return f"revalid:waiting:{queue}:{tenant}"


def tenants_key(queue: str) -> str:
    """Sorted set: the tenants that have jobs waiting in a queue, by turn."""
    return f"revalid:tenants:{queue}"


def parked_key(tenant: str) -> str:
    """Sorted set: the queues in which a tenant at its bound waits, by turn."""
    return f"revalid:parked:{tenant}"


def active_key(tenant: str) -> str:
    """Set: a tenant's jobs that count against its bound."""
    return f"revalid:active:{tenant}"


def ringing_key(queue: str) -> str:
    """Sorted set: the jobs of a queue whose doorbells ring, by the time when each rang."""
    return f"revalid:ringing:{queue}"


def flight_key(queue: str) -> str:
    """Set: the jobs of a queue that have had their turn and are not done."""
    return f"revalid:flight:{queue}"


def serving_key(queue: str) -> str:
    """Sorted set: the workers that take jobs from a queue, by the end of their announcements."""
    return f"revalid:serving:{queue}"


def lane_key(lane: str) -> str:
    """Sorted set: the queued jobs of a lane, by the time when each was queued."""
    return f"revalid:lane:{lane}"


def image_key(image: str) -> str:
    """The digest that a registry gave for an image in the last minutes."""
    return f"revalid:image:{image}"


def blob_key(digest: str) -> str:
    """A project's tarball."""
    return f"revalid:blob:{digest}"


def artifact_key(digest: str) -> str:
    """An archive of a job's artifacts."""
    return f"revalid:artifact:{digest}"


def holders_key(digest: str) -> str:
    """Hash: bytes of one project, by each tenant that has stored it."""
    return f"revalid:holders:{digest}"


def needs_key(project: str) -> str:
    """Set: ids of the jobs that need a project (``TENANT DIGEST``)."""
    return f"revalid:needs:{project}"


def request_key(scope: str) -> str:
    """The digest of the request that first used an idempotency key."""
    return f"revalid:idempotency:{scope}"


def worker_key(fingerprint: str) -> str:
    """Exists while a worker with this fingerprint takes jobs."""
    return f"revalid:worker:{fingerprint}"


def failure_key(worker: str) -> str:
    """Exists if a worker's engine or files failed a job since its parent last checked."""
    return f"revalid:failure:{worker}"


def batch_key(batch_id: str, part: str = "") -> str:
    """Hash: a batch; with ``part``, its list of entries or its hash of jobs, errors or rounds."""
    return f"revalid:batch:{batch_id}{':' if part else ''}{part}"
