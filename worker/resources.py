"""The connections of a child process; the first job opens them, and they stay open."""

from contextlib import suppress
from functools import partial

from anyio.from_thread import BlockingPortal, start_blocking_portal
from celery import Celery
from redis import RedisError

from revalid.jobs.connection import connect
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.queue import open_ledger
from revalid.jobs.settings import Settings
from revalid.worker.outbox import Outbox
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.secrets import name_key
from revalid.worker.tracing import start_tracing, stop_tracing


class Resources:
    """Redis, the stores, an event loop in a thread, and one engine connection.

    They are opened with the first job, because Celery ends a child that is slow to start.
    """

    def __init__(self, settings: Settings, url: str, app: Celery) -> None:
        self.settings = settings
        self.url = url
        self.redis = connect(url)
        self.ledger = open_ledger(settings, self.redis, app)
        self.outbox = Outbox(settings.home, self.ledger, url)
        raw = connect(url, text=False)
        self.projects = BlobStore.from_settings(raw, settings)
        self.artifacts = BlobStore.of_artifacts(raw, settings)
        start_tracing()
        self._loop_context = start_blocking_portal("asyncio")
        self.event_loop: BlockingPortal = self._loop_context.__enter__()
        self.engine: Engine = self.event_loop.call(
            partial(
                Engine,
                timeout_s=settings.connect_timeout_s,
                on_resolved=self._remember_digest,
                name_key=name_key(settings.home),
                tools_image=settings.tools_image,
            )
        )

    def close(self) -> None:
        """Close the engine connection and end the event loop."""
        self.event_loop.call(self.engine.close)
        self._loop_context.__exit__(None, None, None)
        self.redis.close()
        stop_tracing()

    def _remember_digest(self, image: str, digest: str) -> None:
        with suppress(RedisError):  # the next submit has the image resolved again
            self.ledger.resolved(image, digest)
