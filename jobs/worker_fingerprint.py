"""Fingerprints of workers: two workers with equal fingerprints treat a job the same way.

`revalid run` uses a running worker only if a new worker would have the same fingerprint.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress

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
    "images",
    "tools_image",
    "browser_image",
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
    """Return 16 hex digits over version, engine variables, worker settings and forwarded values.

    The fingerprint is public: it is part of a queue's name. It is keyed with a secret of the home,
    so that nobody can guess the secrets among the values.
    """
    forwarded = {"PATH", *settings.forwarded, *settings.secret_allow, *settings.local_env}
    variables = {
        name: value
        for name, value in environ.items()
        if name in forwarded or name.startswith(_ENGINE)
    }
    secrets = (settings.signing_key, settings.webhook_key)
    keys = [key and key.get_secret_value() for key in secrets]
    fields = settings.model_dump(mode="json", include=set(_WORKER_FIELDS))
    images = ""
    with suppress(OSError):  # the worker itself reports it
        images = settings.images.read_bytes().hex() if settings.images else ""
    content = json.dumps([VERSION, fields, variables, keys, images], sort_keys=True)
    key = home_key(settings.home, "fingerprints of workers")
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()[:16]


def is_served(redis: Redis, value: str) -> bool:
    """Return whether a worker with this fingerprint takes jobs."""
    left_ms = redis.pttl(worker_key(value))
    return 0 < left_ms <= SERVING_S * 1000  # a longer time means that Redis's clock stepped back
