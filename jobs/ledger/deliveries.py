"""Deliveries of verdicts to webhooks; Redis holds them from the moment of the verdict."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.webhook import WebhookSubscription
from revalid.jobs.result import VerdictName
from revalid.jobs.steps import Frozen


class WebhookData(Frozen):
    """How a job ended, with the fields of its result.

    Attributes:
        labels: Labels of the submit that named the webhook.
    """

    id: str
    verdict: VerdictName
    failed_step: str | None
    duration_s: float | None
    queued_s: float
    labels: dict[str, str]


class WebhookPayload(Frozen):
    """The document that is posted to a webhook.

    Attributes:
        timestamp: When the job ended.
    """

    type: Literal["job.finished"] = "job.finished"
    timestamp: datetime
    data: WebhookData


class Outcome(StrEnum):
    """The outcome of a try; after ``failed`` another try follows."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A verdict on its way to a webhook.

    Attributes:
        id: Id of the delivery, the same in every try.
        tries: Number of tries, including this one.
        age_ms: Milliseconds since the delivery was created.
        hook: Text from :func:`~revalid.jobs.ledger.webhook.encode_hook`.
        failed_step: Name of the failed step; empty if there is none.
        duration_s: Seconds of the last attempt; empty if the job ended while it waited.
        finished_at: Milliseconds since 1970.
    """

    id: str
    tries: int
    age_ms: int
    job_id: str
    hook: str
    verdict: str
    failed_step: str
    duration_s: str
    queued_s: str
    finished_at: str

    def body(self, hook: WebhookSubscription) -> str:
        """Return the JSON document to post."""
        payload = WebhookPayload(
            timestamp=datetime.fromtimestamp(int(self.finished_at) / 1000, UTC),
            data=WebhookData(
                id=self.job_id,
                verdict=self.verdict,
                failed_step=self.failed_step or None,
                duration_s=float(self.duration_s) if self.duration_s else None,
                queued_s=float(self.queued_s),
                labels=hook.labels,
            ),
        )
        return json.dumps(payload.model_dump(mode="json"))


def take(ledger: Ledger, most: int, *, lease_s: float) -> list[Delivery]:
    """Take deliveries that are due; for ``lease_s`` seconds no other worker gets them."""
    return [Delivery(*words) for words in ledger.run("take", int(lease_s * 1000), most)]


def settle(ledger: Ledger, delivery: Delivery, outcome: Outcome, *, delay_s: float = 0) -> None:
    """Record the outcome of a try; a failed one is due again after ``delay_s`` seconds.

    If another worker took the delivery meanwhile, only ``delivered`` has an effect.
    """
    ledger.run("settle", delivery.id, delivery.tries, outcome, int(delay_s * 1000))
