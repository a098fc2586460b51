"""What a worker would do with a job: equal fingerprints, equal treatment.

`revalid run` uses a worker that is already there only when its fingerprint is the one that a worker
started now would have.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping

from redis import Redis

from revalid.jobs.ledger.keys import worker_key
from revalid.jobs.ledger.record import SERVING_S
from revalid.jobs.settings import VERSION, Settings
from revalid.jobs.signing_keys import home_key

_ENGINE = ("_EXPERIMENTAL_DAGGER_", "DAGGER_", "DOCKER_")
_WORKER_FIELDS = (
    "home",
    "broker_url",
    "blob_url",
    "blob_redis_bytes",
    "sandbox",
    "tools_image",
    "bubblewrap",
    "source_roots",
    "secret_allow",
    "secret_files",
    "forward_env",
    "local_env",
    "project_bytes",
    "project_files",
    "connect_timeout_s",
    "webhook_allow",
    "embedded",
    "instance",
)


def fingerprint(settings: Settings, environ: Mapping[str, str]) -> str:
    """16 hex digits over version, engine variables, worker settings and the values it hands on.

    Anyone may see it, in the name of a queue. A key of the home makes it say nothing of the values,
    some of which are secrets that could be guessed.
    """
    handed_on = {"PATH", *settings.forwarded, *settings.secret_allow, *settings.local_env}
    seen = {
        name: value
        for name, value in environ.items()
        if name in handed_on or name.startswith(_ENGINE)
    }
    secrets = (settings.signing_key, settings.webhook_key)
    keys = [key and key.get_secret_value() for key in secrets]
    fields = settings.model_dump(mode="json", include=set(_WORKER_FIELDS))
    content = json.dumps([VERSION, fields, seen, keys], sort_keys=True)
    key = home_key(settings.home, "fingerprints of workers")
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()[:16]


def is_served(redis: Redis, value: str) -> bool:
    """Whether a worker with this fingerprint takes jobs."""
    left_ms = redis.pttl(worker_key(value))
    return 0 < left_ms <= SERVING_S * 1000  # longer: Redis's clock stepped back
