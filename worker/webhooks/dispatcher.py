"""Posts webhook deliveries that wait in Redis, each at least once, with retries for a day."""

import logging
import random
import threading
from urllib.parse import urlsplit

import anyio
import httpcore
from anyio import to_thread

from revalid.jobs.connection import broker_errors
from revalid.jobs.errors import PolicyRefused, TransientError
from revalid.jobs.ledger.deliveries import Delivery, Outcome, settle, take
from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.webhook import decode_hook
from revalid.jobs.settings import Settings
from revalid.worker.webhooks.sender import WebhookSender

TIMEOUT_S = 10.0
DELIVERY_LEASE_S = 60.0
"""Lease of a delivery, longer than a try may take; a killed worker's deliveries wait this long."""
MAX_AGE_S = 86_400.0
FIRST_DELAY_S = 5.0
MAX_DELAY_S = 14_400.0
POLL_S = 1.0
MAX_CONCURRENT = 32
"""Deliveries of one worker in progress at one time."""
_HTTP_GONE = 410

log = logging.getLogger("revalid.webhooks")


def delay_s(tries: int) -> float:
    """Return the seconds until the next try: 5, 15, 45 and so on up to 4 hours, within 20 %."""
    delay = min(FIRST_DELAY_S * 3.0 ** min(tries - 1, 20), MAX_DELAY_S)
    return delay * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load


class WebhookDispatcher:
    """Takes due deliveries and posts them, in a thread of its own.

    Args:
        url: The broker's URL, for messages.
        sender: Signs with ``REVALID_WEBHOOK_KEY`` and posts.
    """

    def __init__(self, settings: Settings, ledger: Ledger, url: str, sender: WebhookSender) -> None:
        self._settings = settings
        self._ledger = ledger
        self._url = url
        self._sender = sender
        self._in_progress = 0
        self._settled = anyio.Event()

    def run(self, stop: threading.Event) -> None:
        """Post deliveries until ``stop`` is set, then post once more what is due."""
        while True:
            try:
                return anyio.run(self._run, stop)
            except Exception:
                log.exception("webhook deliveries failed; they start again")
                if stop.wait(POLL_S):
                    return None

    async def _run(self, stop: threading.Event) -> None:
        async with anyio.create_task_group() as group:
            last = False
            while not last:
                last = stop.is_set()
                self._settled = anyio.Event()
                deliveries = await to_thread.run_sync(self._take)
                self._in_progress += len(deliveries)
                for delivery in deliveries:
                    group.start_soon(self._deliver, delivery)
                if not deliveries and not last:
                    with anyio.move_on_after(POLL_S):
                        await self._settled.wait()

    def _take(self) -> list[Delivery]:
        free = MAX_CONCURRENT - self._in_progress
        if free <= 0:
            return []
        try:
            with broker_errors(self._url):
                return take(self._ledger, free, lease_s=DELIVERY_LEASE_S)
        except TransientError as error:
            log.warning("%s", error)
            return []

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            outcome, reason = await self._post(delivery)
            pause_s = delay_s(delivery.tries)
            if outcome is Outcome.FAILED and delivery.age_ms / 1000 + pause_s > MAX_AGE_S:
                outcome = Outcome.EXHAUSTED
            if outcome is not Outcome.DELIVERED:
                words = ("job %s: webhook %s: %s (%s, try %d)", delivery.job_id, delivery.id)
                log.warning(*words, outcome, reason, delivery.tries)
            await to_thread.run_sync(self._settle, delivery, outcome, pause_s)
        finally:
            self._in_progress -= 1
            self._settled.set()

    async def _post(self, delivery: Delivery) -> tuple[Outcome, str]:
        """Post a delivery and return its outcome and the reason.

        The reason never contains the URL, whose path may be a secret.
        """
        host = None
        try:
            hook = decode_hook(delivery.hook, delivery.job_id, self._settings.signing_key)
            host = urlsplit(hook.url).hostname
            with anyio.fail_after(TIMEOUT_S):
                body = delivery.body(hook)
                status = await self._sender.post(hook.url, delivery.id, body, timeout_s=TIMEOUT_S)
        except PolicyRefused as error:
            return Outcome.REFUSED, str(error)
        except (TimeoutError, httpcore.TimeoutException):
            return Outcome.FAILED, f"{host} did not answer within {TIMEOUT_S:.0f} s"
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            return Outcome.FAILED, f"{host}: {str(error) or type(error).__name__}"
        except Exception as error:  # the delivery was written by others: it must not stop the rest
            log.exception("job %s: its webhook delivery is invalid", delivery.job_id)
            return Outcome.REFUSED, type(error).__name__
        if 200 <= status < 300:
            return Outcome.DELIVERED, ""
        outcome = Outcome.REFUSED if status == _HTTP_GONE else Outcome.FAILED
        return outcome, f"{host} answered {status}"

    def _settle(self, delivery: Delivery, outcome: Outcome, pause_s: float) -> None:
        try:
            with broker_errors(self._url):
                settle(self._ledger, delivery, outcome, delay_s=pause_s)
        except TransientError as error:  # the lease ends, and the delivery is posted again
            log.warning("%s", error)
