"""Verdicts on their way to webhooks: they lie in Redis from the moment of the verdict."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from revalid.jobs.ledger.ledger import Ledger
from revalid.jobs.ledger.webhook import WebhookSubscription


class Outcome(StrEnum):
    """What a try came to: ``failed`` is tried again, the others are the last."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A verdict on its way to a webhook.

    Attributes:
        id: The same at every try.
        tries: With this one.
        age_ms: Since it was to be delivered first.
        hook: What :func:`~revalid.jobs.ledger.webhook.encode_hook` made.
        failed_step: Empty where there is none.
        finished_at: Milliseconds since 1970.
    """

    id: str
    tries: int
    age_ms: int
    job_id: str
    hook: str
    verdict: str
    failed_step: str
    finished_at: str

    def body(self, hook: WebhookSubscription) -> str:
        """The JSON document that is posted."""
        finished = datetime.fromtimestamp(int(self.finished_at) / 1000, UTC)
        return json.dumps(
            {
                "type": "job.finished",
                "timestamp": finished.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "data": {
                    "id": self.job_id,
                    "verdict": self.verdict,
                    "failed_step": self.failed_step or None,
                    "labels": hook.labels,
                },
            }
        )


def take(ledger: Ledger, most: int, *, lease_s: float) -> list[Delivery]:
    """Deliveries that are due; for ``lease_s`` seconds nobody else is given them."""
    return [Delivery(*words) for words in ledger.run("take", int(lease_s * 1000), most)]


def settle(ledger: Ledger, delivery: Delivery, outcome: Outcome, *, delay_s: float = 0) -> None:
    """Say what a try came to; one that failed is due again after ``delay_s`` seconds.

    What somebody else took meanwhile is theirs, unless it is delivered.
    """
    ledger.run("settle", delivery.id, delivery.tries, outcome, int(delay_s * 1000))
