"""Signed job records, for a Redis that others can write to."""

import hashlib
import hmac

from pydantic import SecretStr

from jobs.errors import PolicyRefused


def sign(key: SecretStr, record: str) -> str:
    """HMAC-SHA256 of a job's JSON, in hex."""
    return hmac.new(key.get_secret_value().encode(), record.encode(), hashlib.sha256).hexdigest()


def check_signature(key: SecretStr | None, record: str, signature: str) -> None:
    """Refuse a record that was not signed with ``key``; without a key nothing is checked.

    Raises:
        PolicyRefused: It has no signature, or another.
    """
    if key is not None and not hmac.compare_digest(sign(key, record), signature):
        raise PolicyRefused(
            f"the job's record {'has another signature' if signature else 'is not signed'}: "
            "its producer needs the REVALID_SIGNING_KEY of this worker"
        )
