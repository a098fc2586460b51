"""Signatures of job records and webhooks, for a Redis that others can write to."""

import hashlib
import hmac
from enum import StrEnum

from pydantic import SecretStr

from revalid.jobs.errors import PolicyRefused
from revalid.jobs.signing_keys import derive


class Signed(StrEnum):
    """A kind of signed text; each has its own key, so that one cannot pass for another."""

    RECORD = "job record"
    WEBHOOK = "webhook"


def sign(key: SecretStr, kind: Signed, text: str) -> str:
    """Sign a text: HMAC-SHA256 in hex, with this kind's key derived from ``key``."""
    own = derive(key.get_secret_value().encode(), kind)
    return hmac.new(own, text.encode(), hashlib.sha256).hexdigest()


def check_signature(key: SecretStr | None, kind: Signed, text: str, signature: str) -> None:
    """Check a signature; without a key nothing is checked.

    Raises:
        PolicyRefused: The signature is missing or wrong.
    """
    if key is not None and not hmac.compare_digest(sign(key, kind, text), signature):
        raise PolicyRefused(
            f"the {kind} {'has a wrong signature' if signature else 'is not signed'}: "
            "give its producer the REVALID_SIGNING_KEY of this worker"
        )
