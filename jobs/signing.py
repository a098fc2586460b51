"""Signed job records and webhooks, for a Redis that others can write to."""

import hashlib
import hmac
from enum import StrEnum

from pydantic import SecretStr

from revalid.jobs.errors import PolicyRefused
from revalid.jobs.signing_keys import derive


class Signed(StrEnum):
    """What is signed; each kind has a key of its own, so that none passes for another."""

    RECORD = "job record"
    WEBHOOK = "webhook"


def sign(key: SecretStr, kind: Signed, text: str) -> str:
    """HMAC-SHA256 in hex, with the key that ``REVALID_SIGNING_KEY`` gives this kind."""
    own = derive(key.get_secret_value().encode(), kind)
    return hmac.new(own, text.encode(), hashlib.sha256).hexdigest()


def check_signature(key: SecretStr | None, kind: Signed, text: str, signature: str) -> None:
    """Refuse what was not signed with ``key`` as this kind; without a key nothing is checked.

    Raises:
        PolicyRefused: It has no signature, or another.
    """
    if key is not None and not hmac.compare_digest(sign(key, kind, text), signature):
        raise PolicyRefused(
            f"the {kind} {'has another signature' if signature else 'is not signed'}: "
            "its producer needs the REVALID_SIGNING_KEY of this worker"
        )
