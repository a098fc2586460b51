"""Tells webhooks the verdicts that wait for it in Redis: each at least once, or for a day."""

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

TRY_S = 10.0
LEASE_S = 60.0
"""Above what a try may take, and how long a killed worker delays what it had taken."""
MAX_AGE_S = 86_400.0
FIRST_DELAY_S = 5.0
MAX_DELAY_S = 14_400.0
LOOK_S = 1.0
WIDTH = 32
"""Deliveries of one worker under way at a time."""
_GONE = 410

log = logging.getLogger("revalid.webhooks")


def delay_s(tries: int) -> float:
    """Seconds until the next try: 5, 15, 45 and so on up to 4 hours, give or take a fifth."""
    longest = min(FIRST_DELAY_S * 3.0 ** min(tries - 1, 20), MAX_DELAY_S)
    return longest * random.uniform(0.8, 1.2)  # noqa: S311 - it spreads load


class WebhookDispatcher:
    """Takes what is due and posts it, in a thread of its own.

    Args:
        poster: Signs with ``REVALID_WEBHOOK_KEY``.
    """

    def __init__(self, settings: Settings, ledger: Ledger, url: str, poster: WebhookSender) -> None:
        self._settings = settings
        self._ledger = ledger
        self._url = url
        self._poster = poster
        self._under_way = 0
        self._settled = anyio.Event()

    def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop, and then once more what is due."""
        while True:
            try:
                return anyio.run(self._run, stop)
            except Exception:
                log.exception("webhooks are not delivered")
                if stop.wait(LOOK_S):
                    return None

    async def _run(self, stop: threading.Event) -> None:
        async with anyio.create_task_group() as group:
            last = False
            while not last:
                last = stop.is_set()
                self._settled = anyio.Event()
                taken = await to_thread.run_sync(self._take)
                self._under_way += len(taken)
                for delivery in taken:
                    group.start_soon(self._deliver, delivery)
                if not taken and not last:
                    with anyio.move_on_after(LOOK_S):
                        await self._settled.wait()

    def _take(self) -> list[Delivery]:
        room = WIDTH - self._under_way
        if room <= 0:
            return []
        try:
            with broker_errors(self._url):
                return take(self._ledger, room, lease_s=LEASE_S)
        except TransientError as error:
            log.warning("%s", error)
            return []

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            outcome, why = await self._try(delivery)
            pause_s = delay_s(delivery.tries)
            if outcome is Outcome.FAILED and delivery.age_ms / 1000 + pause_s > MAX_AGE_S:
                outcome = Outcome.EXHAUSTED
            if outcome is not Outcome.DELIVERED:
                words = ("job %s: webhook %s: %s (%s, try %d)", delivery.job_id, delivery.id)
                log.warning(*words, outcome, why, delivery.tries)
            await to_thread.run_sync(self._settle, delivery, outcome, pause_s)
        finally:
            self._under_way -= 1
            self._settled.set()

    async def _try(self, delivery: Delivery) -> tuple[Outcome, str]:
        """What posting came to, and why; never the URL, whose path may be a secret."""
        host = None
        try:
            hook = decode_hook(delivery.hook, delivery.job_id, self._settings.signing_key)
            host = urlsplit(hook.url).hostname
            with anyio.fail_after(TRY_S):
                body = delivery.body(hook)
                status = await self._poster.post(hook.url, delivery.id, body, timeout_s=TRY_S)
        except PolicyRefused as error:
            return Outcome.REFUSED, str(error)
        except (TimeoutError, httpcore.TimeoutException):
            return Outcome.FAILED, f"{host} did not answer within {TRY_S:.0f} s"
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            return Outcome.FAILED, f"{host}: {str(error) or type(error).__name__}"
        except Exception as error:  # written by others: one must not stop the rest
            log.exception("job %s: its webhook cannot be posted to", delivery.job_id)
            return Outcome.REFUSED, type(error).__name__
        if 200 <= status < 300:
            return Outcome.DELIVERED, ""
        return Outcome.REFUSED if status == _GONE else Outcome.FAILED, f"{host} answered {status}"

    def _settle(self, delivery: Delivery, outcome: Outcome, pause_s: float) -> None:
        try:
            with broker_errors(self._url):
                settle(self._ledger, delivery, outcome, delay_s=pause_s)
        except TransientError as error:  # its lease ends, and it is posted again
            log.warning("%s", error)
